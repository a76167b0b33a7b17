"""Whether CUDA has started in this process: it reads CUDA_VISIBLE_DEVICES then, and never again."""

from __future__ import annotations

import ctypes
import os

__all__ = ["cuda_is_initialised"]

_NOT_INITIALISED = 3  # CUDA_ERROR_NOT_INITIALIZED


def cuda_is_initialised() -> bool:
    """Ask the driver's library, if it is loaded, whether any framework has called ``cuInit``.

    Nothing else tells: NVML opens the same files (/dev/nvidia-uvm too, since driver 580), and frameworks know
    of themselves alone. Before ``cuInit`` every call is refused (CUDA driver API, ``cuDeviceGetCount``).
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1", mode=os.RTLD_NOLOAD)
    except OSError:
        return False
    answer: int = driver.cuDeviceGetCount(ctypes.byref(ctypes.c_int()))
    return answer != _NOT_INITIALISED
