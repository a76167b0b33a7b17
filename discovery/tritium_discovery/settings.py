"""The settings of discovery, parsed once from the environment.

Spark runs a discovery script with no arguments, so the environment is the only way in
(``ResourceDiscoveryScriptPlugin``); the library reads the same variables.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, Self, TypeVar

from tritium_discovery.errors import BadSetting

__all__ = ["VARIABLES", "Limits", "Settings"]

_T = TypeVar("_T")
_LONGEST_S = 1e9

VARIABLES = (
    "TRITIUM_MACHINE",
    "TRITIUM_PROBE",
    "TRITIUM_SYSFS",
    "TRITIUM_GPU_AMOUNT",
    "TRITIUM_TIMEOUT_S",
    "TRITIUM_DIR",
    "TRITIUM_RACK",
    "TRITIUM_PRODUCT",
    "TRITIUM_MIN_MEMORY_MIB",
    "TRITIUM_MIN_FREE_MIB",
    "TRITIUM_MIN_CAPABILITY",
    "TRITIUM_MIG_PROFILE",
    "TRITIUM_ALLOW",
    "TRITIUM_DENY",
    "TRITIUM_TAKE_BUSY",
    "TRITIUM_MAX_ECC_ERRORS",
    "TRITIUM_MAX_TEMPERATURE_C",
    "TRITIUM_QUARANTINE_S",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
)
"""All that are read."""


class Limits(NamedTuple):
    """Thresholds of the health rules and of the quarantine."""

    ecc_errors: int = 0
    """Uncorrected volatile ECC errors that are still healthy, e.g. ``0`` (TRITIUM_MAX_ECC_ERRORS)."""
    temperature_c: int = 95
    """Above it a card is unhealthy, e.g. ``95`` (TRITIUM_MAX_TEMPERATURE_C)."""
    quarantine_s: float = 300.0
    """How long a card must look healthy before it is used again (TRITIUM_QUARANTINE_S)."""


class Settings(NamedTuple):
    """All that discovery can be told. Each field names its variable; the README has the table."""

    machine: str | None = None
    """An emulated machine, by name or path, e.g. ``dgx-a100`` (TRITIUM_MACHINE)."""
    probe: Literal["nvml", "sysfs"] = "nvml"
    """Whom to ask on real hardware: NVIDIA's driver, or the kernel alone (TRITIUM_PROBE)."""
    sysfs: Path = Path("/sys")
    """Where the kernel's files lie, e.g. ``/host/sys`` in a container (TRITIUM_SYSFS)."""
    amount: int | None = None
    """How many devices to report, e.g. ``2``; ``None``: where Spark leaves it (TRITIUM_GPU_AMOUNT)."""
    timeout_s: float = 10.0
    """Seconds until a silent driver or a taken lock is an error (TRITIUM_TIMEOUT_S)."""
    directory: Path | None = None
    """Where claims and holds live; ``None``: the host's or the user's (TRITIUM_DIR)."""
    rack: str = ""
    """The rack or zone that this host stands in, e.g. ``rack-12``; empty: nobody says (TRITIUM_RACK)."""
    visible: str | None = None
    """CUDA_VISIBLE_DEVICES as it stands; ``None`` when unset: unset and empty are opposites."""
    device_order: str = ""
    """CUDA_DEVICE_ORDER, e.g. ``PCI_BUS_ID``."""
    product: str | None = None
    """Only products that contain this, e.g. ``A100`` (TRITIUM_PRODUCT)."""
    min_memory_mib: int = 0
    """Only devices with this much memory in all (TRITIUM_MIN_MEMORY_MIB)."""
    min_free_mib: int = 0
    """Only devices with this much memory free (TRITIUM_MIN_FREE_MIB)."""
    min_capability: tuple[int, int] = (0, 0)
    """Only devices of this compute capability, e.g. ``8.0`` (TRITIUM_MIN_CAPABILITY)."""
    mig_profile: str | None = None
    """Only MIG instances of this profile, e.g. ``1g.5gb`` (TRITIUM_MIG_PROFILE)."""
    allow: tuple[str, ...] | None = None
    """Only these devices, each by UUID, PCI address or index (TRITIUM_ALLOW)."""
    deny: tuple[str, ...] = ()
    """Never these devices, written as in ``allow`` (TRITIUM_DENY)."""
    take_busy: bool = False
    """Whether cards that foreign processes compute on may be reported (TRITIUM_TAKE_BUSY)."""
    limits: Limits = Limits()
    """The health rules' thresholds."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Parse ``environ``; an empty TRITIUM_ variable counts as unset, as shells make them.

        >>> Settings.from_env({"TRITIUM_GPU_AMOUNT": "2"}).amount
        2
        >>> Settings.from_env({"TRITIUM_GPU_AMOUNT": "two"})
        Traceback (most recent call last):
        ...
        tritium_discovery.errors.BadSetting: TRITIUM_GPU_AMOUNT: expected an integer >= 0, got 'two'

        Raises:
            BadSetting: a value is of the wrong shape; all wrong ones are named in one sentence.
        """
        read = _Reader(environ)
        settings = cls(
            machine=read.get("TRITIUM_MACHINE", str, None),
            probe=read.get("TRITIUM_PROBE", _probe, "nvml"),
            sysfs=read.get("TRITIUM_SYSFS", _absolute, Path("/sys")),
            amount=read.get("TRITIUM_GPU_AMOUNT", _count, None),
            timeout_s=read.get("TRITIUM_TIMEOUT_S", _seconds, 10.0),
            directory=read.get("TRITIUM_DIR", _absolute, None),
            rack=read.get("TRITIUM_RACK", str, ""),
            visible=environ.get("CUDA_VISIBLE_DEVICES"),
            device_order=environ.get("CUDA_DEVICE_ORDER", ""),
            product=read.get("TRITIUM_PRODUCT", str, None),
            min_memory_mib=read.get("TRITIUM_MIN_MEMORY_MIB", _count, 0),
            min_free_mib=read.get("TRITIUM_MIN_FREE_MIB", _count, 0),
            min_capability=read.get("TRITIUM_MIN_CAPABILITY", _capability, (0, 0)),
            mig_profile=read.get("TRITIUM_MIG_PROFILE", str, None),
            allow=read.get("TRITIUM_ALLOW", _list, None),
            deny=read.get("TRITIUM_DENY", _list, ()),
            take_busy=read.get("TRITIUM_TAKE_BUSY", _truth, False),
            limits=Limits(
                ecc_errors=read.get("TRITIUM_MAX_ECC_ERRORS", _count, 0),
                temperature_c=read.get("TRITIUM_MAX_TEMPERATURE_C", _count, 95),
                quarantine_s=read.get("TRITIUM_QUARANTINE_S", _seconds, 300.0),
            ),
        )
        if read.errors:
            raise BadSetting("; ".join(read.errors))
        return settings


class _Reader:
    """Reads typed values and collects what is wrong, so that a user fixes all of it in one round."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.errors: list[str] = []

    def get(self, name: str, parse: Callable[[str], _T], default: _T) -> _T:
        text = self._environ.get(name, "").strip()
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as err:
            self.errors.append(f"{name}: expected {err}, got {text!r}")
            return default


def _probe(text: str) -> Literal["nvml", "sysfs"]:
    if text == "nvml":
        return "nvml"
    if text == "sysfs":
        return "sysfs"
    raise ValueError("nvml or sysfs")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError("an integer >= 0")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= _LONGEST_S:
        raise ValueError("seconds > 0")
    return seconds


def _absolute(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise ValueError("an absolute path")
    return path


def _capability(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    if not (major.isascii() and major.isdigit() and (minor or "0").isascii() and (minor or "0").isdigit()):
        raise ValueError("a compute capability such as 8.0")
    return int(major), int(minor or "0")


def _list(text: str) -> tuple[str, ...]:
    items = tuple(item.strip() for item in text.split(","))
    if not all(items):
        raise ValueError("UUIDs, PCI addresses or indices with commas between")
    return items


def _truth(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("true or false")
    return text == "true"
