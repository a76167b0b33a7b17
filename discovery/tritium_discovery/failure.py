"""What NVML's return codes mean, and which failure a start that failed is.

Source: ``nvmlReturn_t``, https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceEnumvs.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from tritium_discovery.errors import (
    DiscoveryError,
    DriverError,
    DriverMismatch,
    NoDevice,
    NoDriver,
    NoLibrary,
    NoPermission,
    UnseenDevice,
)

__all__ = [
    "BROKEN",
    "LOST",
    "NOT_SUPPORTED",
    "NO_PERMISSION",
    "UNKNOWN",
    "UNKNOWN_TO_DRIVER",
    "error_text",
    "no_cards",
    "startup_failure",
]

NOT_SUPPORTED = 3
"""NVML_ERROR_NOT_SUPPORTED: this card has no such thing; no fault."""
UNKNOWN_TO_DRIVER = 13
"""NVML_ERROR_FUNCTION_NOT_FOUND: the driver is older than the call; no fault."""
NO_PERMISSION = 4
"""NVML_ERROR_NO_PERMISSION: not for this user, or not for this container."""
LOST = frozenset({15, 16, 28})
"""GPU is lost, reset required, and (28) GPU not found: the card does not answer."""
BROKEN = frozenset({10, 11, 14, 999})
"""Timeout, interrupt issue, corrupted infoROM, "an internal driver error": no card that is well says so."""

UNKNOWN = 999
"""NVML_ERROR_UNKNOWN: "an internal driver error occurred"."""

_TEXTS: Mapping[int, str] = MappingProxyType(
    {
        1: "Uninitialized",
        2: "Invalid Argument",
        3: "Not Supported",
        4: "Insufficient Permissions",
        6: "Not Found",
        7: "Insufficient Size",
        8: "Insufficient External Power",
        9: "Driver Not Loaded",
        10: "Timeout",
        11: "Interrupt Request Issue",
        12: "NVML Shared Library Not Found",
        13: "Function Not Found",
        14: "Corrupted infoROM",
        15: "GPU is lost",
        16: "GPU requires restart",
        17: "The operating system has blocked the request.",
        18: "RM has detected an NVML/RM version mismatch.",
        19: "Target is in use by another client",
        20: "Insufficient Memory",
        25: "Argument version mismatch",
        28: "GPU not found",
        999: "Unknown Error",
    }
)


def error_text(code: int) -> str:
    """NVML's words for a code, as ``nvmlErrorString`` gives them.

    >>> error_text(15)
    'GPU is lost'
    """
    return _TEXTS.get(code, "Unknown Error")


def startup_failure(call: str, code: int, *, pci: Sequence[str], loading: str = "") -> DiscoveryError:
    """The failure that a code of ``nvmlInit`` (or of the count after it) stands for, with its remedy.

    ``pci`` are the NVIDIA GPUs on the PCI bus: a driver that is missing where a GPU is, is a fault.
    ``loading`` is what the loader says against a library that is there and of no use.
    """
    seen = (
        f"{len(pci)} NVIDIA GPU(s) on the PCI bus ({', '.join(pci)})"
        if pci
        else "no NVIDIA GPU on the PCI bus"
    )
    match code:
        case 12:
            what = f"cannot be loaded ({loading})" if loading else "is not to be found"
            return NoLibrary(
                f"libnvidia-ml.so.1 {what}, with {seen}: install the NVIDIA driver, "
                "or start the container with the NVIDIA runtime"
            )
        case 9:
            return NoDriver(f"the NVIDIA driver is not loaded, with {seen}: modprobe nvidia, and see dmesg")
        case 28:
            return no_cards(pci=pci)
        case 18:
            return DriverMismatch(
                "the NVIDIA library and the loaded kernel driver are of different versions: reboot, "
                "or reload the driver, after an upgrade"
            )
        case 4 | 17:
            return NoPermission(
                f"the NVIDIA driver may not be asked ({call}: {error_text(code)}): check the rights on "
                "/dev/nvidiactl and the container's device cgroup"
            )
        case _:
            hint = (
                "; in a container restart it: a reload of systemd takes its devices away"
                if code == UNKNOWN
                else ""
            )
            return DriverError(f"{call} failed: {error_text(code)} (NVML error {code}), with {seen}{hint}")


def no_cards(*, pci: Sequence[str], refused: int = 0) -> DiscoveryError:
    """What it means that a driver started and lists no card, with these NVIDIA GPUs on the PCI bus.

    ``refused`` are the cards that it counts and that this process may not open.

    >>> no_cards(pci=()).exit_code, no_cards(pci=["00000000:07:00.0"]).exit_code
    (15, 16)
    >>> no_cards(pci=["00000000:07:00.0"], refused=1).exit_code
    13
    """
    if refused:
        return NoPermission(
            f"NVML counts {refused} GPU(s) and this process may open none of them: check the rights on "
            "/dev/nvidia* and the device cgroup that YARN, Slurm or the container put it in"
        )
    if not pci:
        return NoDevice("the NVIDIA driver works and this host has no NVIDIA GPU")
    return UnseenDevice(
        f"NVML lists no GPU, with {len(pci)} on the PCI bus ({', '.join(pci)}): this container was "
        "given none, or the driver refused them, see dmesg"
    )
