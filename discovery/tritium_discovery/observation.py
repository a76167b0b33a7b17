"""What was read of a host, before anything is decided: each reading is a value or a typed failure.

One broken card never hides the others: every call of NVML that fails becomes a ``Failed`` in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias, TypeVar

from tritium_discovery.device import Origin

__all__ = [
    "Ancestor",
    "Card",
    "Failed",
    "Instance",
    "Memory",
    "MigMode",
    "NvLink",
    "Observation",
    "Process",
    "Reading",
    "Remapped",
    "Topology",
    "value",
]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A reading that NVML refused."""

    call: str
    """E.g. ``nvmlDeviceGetMemoryInfo``."""
    code: int
    """``nvmlReturn_t``, e.g. ``15`` (GPU is lost)."""
    text: str
    """``nvmlErrorString``, e.g. ``GPU is lost``."""

    def __str__(self) -> str:
        return f"{self.call}: {self.text}" + (f" (NVML error {self.code})" if self.code else "")


Reading: TypeAlias = _T | Failed


def value(reading: Reading[_T], default: _T) -> _T:
    """The value, or ``default`` where the reading failed.

    >>> value(Failed(call="nvmlDeviceGetName", code=15, text="GPU is lost"), "?")
    '?'
    """
    return default if isinstance(reading, Failed) else reading


class Ancestor(IntEnum):
    """``nvmlGpuTopologyLevel_t``: where the PCIe paths of two cards meet."""

    INTERNAL = 0
    SINGLE = 10
    MULTIPLE = 20
    HOSTBRIDGE = 30
    NODE = 40
    SYSTEM = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Of a device, in MiB."""

    total_mib: int
    free_mib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MigMode:
    """``nvmlDeviceGetMigMode``; where the two differ, a reset of the card is due."""

    current: bool
    pending: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Remapped:
    """``nvmlDeviceGetRemappedRows``."""

    correctable: int
    uncorrectable: int
    pending: bool
    failed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A compute process on a card; its pid is the host's, also when read in a container."""

    pid: int
    used_mib: int | None
    """``None`` where the driver does not say (another container's process, WDDM)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NvLink:
    """One active NVLink of a card."""

    remote_bus_id: str
    """PCI bus id of what is at its other end, e.g. ``00000000:C4:00.0`` for an NVSwitch."""
    to_switch: bool
    """Whether that is an NVSwitch (``nvmlDeviceGetNvLinkRemoteDeviceType``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A MIG compute instance: a device of its own for CUDA."""

    uuid: Reading[str]
    product: Reading[str]
    """E.g. ``NVIDIA A100-SXM4-40GB MIG 1g.5gb``."""
    memory: Reading[Memory]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One card as NVML lists it."""

    index: int
    """NVML's index, which follows the PCI bus and may change at a reboot."""
    uuid: Reading[str]
    pci_bus_id: Reading[str]
    product: Reading[str]
    memory: Reading[Memory]
    capability: Reading[tuple[int, int]]
    numa_node: int | None
    cpus: str = ""
    """Local CPUs as the kernel writes lists, e.g. ``48-63,176-191`` (``nvmlDeviceGetCpuAffinity``)."""
    mig: Reading[MigMode]
    instances: tuple[Instance, ...] = ()
    processes: Reading[tuple[Process, ...]] = ()
    ecc_errors: Reading[int] = 0
    """Uncorrected, volatile (``nvmlDeviceGetTotalEccErrors``)."""
    remapped: Reading[Remapped]
    retirement_pending: Reading[bool]
    """``nvmlDeviceGetRetiredPagesPendingStatus``, of cards before row remapping."""
    recovery: Reading[int]
    """``nvmlDeviceGpuRecoveryAction_t``, from field NVML_FI_DEV_GET_GPU_RECOVERY_ACTION; 0 is none."""
    temperature_c: Reading[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """How the cards of a host are wired; slow to read on hardware, so it is read apart and cached."""

    ancestors: Mapping[tuple[str, str], Ancestor]
    """Keys are PCI bus ids in ascending order."""
    nvlinks: Mapping[str, tuple[NvLink, ...]]
    """By PCI bus id, active links only."""
    p2p_nvlink: Mapping[tuple[str, str], bool]
    """Whether NVML calls the pair connected by NVLink (``nvmlDeviceGetP2PStatus``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One reading of one host."""

    origin: Origin
    machine: str | None = None
    """The emulated machine's name."""
    driver: Reading[str]
    """E.g. ``570.124.06``."""
    nvml: Reading[str]
    """The library's version, e.g. ``12.570.124.06``."""
    cuda: Reading[str]
    """The newest CUDA the driver runs, e.g. ``12.8``."""
    cards: tuple[Card, ...]
    unseen: tuple[str, ...] = ()
    """NVIDIA GPUs on the PCI bus that NVML did not list, by bus id."""
    topology: Topology | None = None
