"""The edge to the kernel's list of PCI devices: which GPUs are there, without any vendor's library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["NVIDIA", "SYSFS", "PciDevice", "accelerators", "bus_id"]

SYSFS = Path("/sys")
NVIDIA = 0x10DE
"""PCI vendor id."""
_CLASSES = ("0x0300", "0x0302", "0x0380", "0x1200")
"""VGA, 3D and other display controllers, and processing accelerators (PCI Code and ID Assignment)."""


class PciDevice(NamedTuple):
    """One accelerator as the kernel lists it."""

    bus_id: str
    """In NVML's spelling, e.g. ``00000000:07:00.0``."""
    vendor: int
    """PCI vendor id, e.g. ``0x10de`` (NVIDIA)."""
    product: int
    """PCI device id, e.g. ``0x20b0``."""
    numa_node: int | None
    """``None`` where the platform does not say (the file holds -1)."""
    cpus: str
    """Local CPUs, e.g. ``0-15``."""


def accelerators(sysfs: Path) -> Iterator[PciDevice]:
    """All GPUs and accelerators on the PCI bus, in bus order; ``sysfs`` is where the kernel's files lie."""
    root = sysfs / "bus/pci/devices"
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        if _text(path / "class")[:6] not in _CLASSES:
            continue
        node = _integer(path / "numa_node", base=10)
        yield PciDevice(
            bus_id=bus_id(path.name),
            vendor=_integer(path / "vendor", base=16),
            product=_integer(path / "device", base=16),
            numa_node=None if node < 0 else node,
            cpus=_text(path / "local_cpulist"),
        )


def bus_id(text: str) -> str:
    """A PCI address in NVML's spelling: eight digits of domain, upper case; other texts stay as they are.

    >>> bus_id("0000:0f:00.0"), bus_id("0F:00.0"), bus_id("GPU-1")
    ('00000000:0F:00.0', '00000000:0F:00.0', 'GPU-1')
    """
    parts = text.split(":")
    if len(parts) not in {2, 3} or "." not in parts[-1]:
        return text
    domain, bus, slot = ["0", *parts][-3:]
    try:
        return f"{int(domain, 16):08X}:{int(bus, 16):02X}:{slot.upper()}"
    except ValueError:
        return text


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _integer(path: Path, *, base: int) -> int:
    try:
        return int(_text(path), base)
    except ValueError:
        return -1
