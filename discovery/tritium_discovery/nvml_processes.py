"""The compute processes on a card, by the call and the struct that the driver really has."""

from __future__ import annotations

import ctypes
from typing import Any

import pynvml

from tritium_discovery.failure import UNKNOWN_TO_DRIVER
from tritium_discovery.nvml_call import error_words, read
from tritium_discovery.observation import Failed, Process, Reading

__all__ = ["processes"]

_MIB = 1 << 20


class _ProcessV1(ctypes.Structure):
    _fields_ = (("pid", ctypes.c_uint), ("used", ctypes.c_ulonglong))


class _ProcessV2(ctypes.Structure):
    _fields_ = (
        ("pid", ctypes.c_uint),
        ("used", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


class _ProcessProtected(ctypes.Structure):
    _fields_ = (*_ProcessV2._fields_, ("protected", ctypes.c_ulonglong))


_NO_MEMORY = (1 << 64) - 1
"""NVML_VALUE_NOT_AVAILABLE."""


def processes(handle: Reading[Any], driver: Reading[str]) -> Reading[tuple[Process, ...]]:
    """The compute processes, by the newest call that the driver has and the struct that it fills.

    The binding knows one struct; drivers 535.43 to 535.86 fill a longer one under the same name, and
    reading it with the wrong size gives wrong pids without any error (gpustat#161).
    """
    if isinstance(handle, Failed):
        return handle
    call = "nvmlDeviceGetComputeRunningProcesses"
    versions: tuple[tuple[str, type[ctypes.Structure]], ...] = (
        ("_v3", _ProcessProtected if _fills_protected(driver) else _ProcessV2),
        ("_v2", _ProcessV2),
        ("", _ProcessV1),
    )
    for suffix, struct in versions:
        function = read("_nvmlGetFunctionPointer", call + suffix)
        if not isinstance(function, Failed):
            return _listed(call, function, handle, struct)
    return Failed(call=call, code=UNKNOWN_TO_DRIVER, text="Function Not Found")


def _fills_protected(driver: Reading[str]) -> bool:
    if isinstance(driver, Failed):
        return False
    major, _, rest = driver.partition(".")
    minor = rest.partition(".")[0]
    return major == "535" and minor.isdigit() and 43 <= int(minor) <= 86  # noqa: PLR2004 - the versions named above


def _listed(
    call: str, function: Any, handle: Any, struct: type[ctypes.Structure]
) -> Reading[tuple[Process, ...]]:
    room = 64
    while True:
        count = ctypes.c_uint(room)
        array = (struct * room)()
        code = int(function(handle, ctypes.byref(count), array))
        if code != pynvml.NVML_ERROR_INSUFFICIENT_SIZE or room > 1 << 16:
            break
        room = max(2 * room, count.value + 8)  # more may start between two calls
    if code:
        return Failed(call=call, code=code, text=error_words(code))
    return tuple(
        Process(pid=entry.pid, used_mib=None if entry.used == _NO_MEMORY else entry.used // _MIB)
        for entry in array[: count.value]
    )
