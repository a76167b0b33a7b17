"""The edge to the kernel's name for this boot."""

from __future__ import annotations

__all__ = ["boot_id"]


def boot_id() -> str:
    """E.g. ``3fd2a1c0-...`` (``/proc/sys/kernel/random/boot_id``); empty where /proc hides it."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123 - pathlib loads slowly
            return file.read().strip()
    except OSError:
        return ""
