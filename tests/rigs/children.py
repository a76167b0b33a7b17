"""What tests have a child of `isolate` do: a fresh interpreter finds it by the name of this module."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tritium_discovery import NotEnough

__all__ = ["big", "crash", "defect", "hang", "open_files", "refuse"]


def hang() -> None:
    """Never come back, as a call into a driver that is stuck."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(3600)


def crash() -> None:
    """Die, as a driver that crashes its caller."""
    os.kill(os.getpid(), signal.SIGSEGV)


def refuse() -> None:
    """Raise an error of ours with attributes."""
    raise NotEnough("2 devices wanted, 1 of 1 may be used", wanted=2, reasons=["because"])


def defect() -> None:
    """Raise an error that is none of ours."""
    raise ZeroDivisionError("a defect")


def open_files() -> list[str]:
    """What the child has open; one descriptor is the listing's own, closed by now."""
    links = list(Path("/proc/self/fd").iterdir())
    return sorted(str(link.readlink()) for link in links if link.exists())


def big() -> bytes:
    """Far more than a pipe takes at once."""
    return b"x" * 10_000_000
