"""Rig: a driver's library that can be started, for what asks it whether it was. Needs a C compiler."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["driver"]

_SOURCE = """
static int started;
int cuInit(unsigned flags) { started = 1; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return started ? 0 : 3; }
"""


def driver(directory: Path) -> Path:
    """Compile the library, under the name that the real one is loaded by."""
    library = directory / "libcuda.so.1"
    command = ("cc", "-shared", "-fPIC", f"-Wl,-soname,{library.name}", "-x", "c", "-", "-o", str(library))
    subprocess.run(command, input=_SOURCE, text=True, check=True, timeout=60)
    return library
