"""What can go wrong in discovery: one class, one exit code and one clear sentence per cause."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from tritium_discovery.observation import Uuid

__all__ = [
    "BadMachine",
    "BadSetting",
    "BadState",
    "DeviceHeld",
    "DiscoveryError",
    "DriverError",
    "DriverMismatch",
    "NoDevice",
    "NoDriver",
    "NoLibrary",
    "NoPermission",
    "NotEnough",
    "Refused",
    "StaleAddress",
    "TimedOut",
    "Undecidable",
    "UnseenDevice",
    "Unwritten",
]


class DiscoveryError(Exception):
    """Base of all failures of discovery; its text is one sentence a user can act on."""

    exit_code: ClassVar[int] = 1
    """What ``gpu-discover`` exits with."""

    def __reduce__(self) -> tuple[object, ...]:
        """Errors cross processes, between our own and in Spark, with all their attributes."""
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(
    kind: type[DiscoveryError], arguments: tuple[object, ...], attributes: dict[str, object]
) -> DiscoveryError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(attributes)
    return error


class BadSetting(DiscoveryError):
    """A setting (environment variable or option) has a value that cannot be meant."""

    exit_code = 2


class NoLibrary(DiscoveryError):
    """``libnvidia-ml.so.1`` is not there: no driver is installed in this place."""

    exit_code = 10


class NoDriver(DiscoveryError):
    """The library is there and the kernel driver is not loaded."""

    exit_code = 11


class DriverMismatch(DiscoveryError):
    """Library and kernel driver are of different versions, as after an upgrade without a reboot."""

    exit_code = 12


class NoPermission(DiscoveryError):
    """The driver may not be asked by this user or from within this container."""

    exit_code = 13


class DriverError(DiscoveryError):
    """NVML failed in another way; the text holds the call and NVML's code."""

    exit_code = 14


class NoDevice(DiscoveryError):
    """The driver works and there is no GPU that this process may see."""

    exit_code = 15


class UnseenDevice(DiscoveryError):
    """A GPU is on the PCI bus and NVML does not list it."""

    exit_code = 16


class NotEnough(DiscoveryError):
    """Fewer devices may be used than were asked for."""

    exit_code = 17

    def __init__(self, sentence: str, *, wanted: int, reasons: Sequence[str]) -> None:
        super().__init__(f"{sentence}: {'; '.join(reasons)}" if reasons else sentence)
        self.wanted = wanted
        self.reasons = tuple(reasons)


class TimedOut(DiscoveryError):
    """The driver, or the host's lock, did not answer in time."""

    exit_code = 18


class Undecidable(DiscoveryError):
    """Integers in CUDA_VISIBLE_DEVICES whose order only the CUDA driver knows."""

    exit_code = 19


class BadState(DiscoveryError):
    """The directory of claims and holds cannot be trusted, or is broken."""

    exit_code = 20


class BadMachine(DiscoveryError):
    """An emulated machine is unknown or its file is wrong."""

    exit_code = 21


class DeviceHeld(DiscoveryError):
    """Another process holds the device now."""

    exit_code = 22

    def __init__(self, uuid: Uuid, holder: object) -> None:
        super().__init__(f"device {uuid} is held by {holder}")
        self.uuid = uuid
        self.holder = holder


class StaleAddress(DiscoveryError):
    """The card behind an address is not the one that was reported to Spark."""

    exit_code = 23


class Refused(DiscoveryError):
    """Spark would not accept what a discovery script printed (``gpu-discover validate``)."""

    exit_code = 24


class Unwritten(DiscoveryError):
    """The answer, or the file that was asked for, could not be written."""

    exit_code = 25
