"""What was read of a host, before anything is decided: each reading is a value or a typed failure.

One broken card never hides the others: every call of NVML that fails becomes a ``Failed`` in its place.
These, and the other types that Spark's script needs, are named tuples and no dataclasses: to define one
takes a tenth of the time, if its annotations are no strings that have to be compiled, and Spark starts the
script anew for each Worker and executor.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Literal, NamedTuple, NewType, TypeAlias, TypeVar

__all__ = [
    "Ancestor",
    "Card",
    "Failed",
    "Instance",
    "Key",
    "Memory",
    "MigMode",
    "NvLink",
    "Observation",
    "Origin",
    "Process",
    "Reading",
    "Remapped",
    "Topology",
    "Uuid",
    "key_of",
    "value",
]

_T = TypeVar("_T")

Uuid = NewType("Uuid", str)
"""A device's identity past every edge, e.g. ``GPU-8f6d3a9c-...`` or ``MIG-...`` (``nvmlDeviceGetUUID``)."""

Origin = Literal["nvml", "emulated", "sysfs"]
"""Who was asked: the driver, a machine file, or the kernel alone."""


class Failed(NamedTuple):
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


class Memory(NamedTuple):
    """Of a device, in MiB."""

    total_mib: int
    free_mib: int


class MigMode(NamedTuple):
    """``nvmlDeviceGetMigMode``; where the two differ, a reset of the card is due."""

    current: bool
    pending: bool


class Remapped(NamedTuple):
    """``nvmlDeviceGetRemappedRows``."""

    correctable: int
    uncorrectable: int
    pending: bool
    failed: bool


class Process(NamedTuple):
    """A compute process on a card; its pid is the host's, also when read in a container."""

    pid: int
    used_mib: int | None
    """``None`` where the driver does not say (another container's process, WDDM)."""


class NvLink(NamedTuple):
    """One active NVLink of a card."""

    remote_bus_id: str
    """PCI bus id of what is at its other end, e.g. ``00000000:C4:00.0`` for an NVSwitch."""
    to_switch: bool
    """Whether that is an NVSwitch (``nvmlDeviceGetNvLinkRemoteDeviceType``)."""


class Instance(NamedTuple):
    """A MIG compute instance: a device of its own for CUDA."""

    uuid: Reading[str]
    product: Reading[str]
    """E.g. ``NVIDIA A100-SXM4-40GB MIG 1g.5gb``."""
    memory: Reading[Memory]
    gpu_instance: Reading[int]
    compute_instance: Reading[int]
    """Both numbers stand in its old name, ``MIG-<card's UUID>/<gpu instance>/<compute instance>``."""
    processes: Reading[tuple[Process, ...]]
    """Its own; the card's list is of all its instances together, and not everybody may read it."""


class Card(NamedTuple):
    """One card as NVML lists it."""

    number: int
    """NVML's index, which follows the PCI bus and may change at a reboot."""
    uuid: Reading[str]
    pci_bus_id: Reading[str]
    product: Reading[str]
    memory: Reading[Memory]
    capability: Reading[tuple[int, int]]
    numa_node: int | None
    cpus: str
    """Local CPUs as the kernel writes lists, e.g. ``48-63,176-191`` (``nvmlDeviceGetCpuAffinity``)."""
    mig: Reading[MigMode]
    instances: tuple[Instance, ...]
    processes: Reading[tuple[Process, ...]]
    ecc_errors: Reading[int]
    """Uncorrected, volatile (``nvmlDeviceGetTotalEccErrors``)."""
    remapped: Reading[Remapped]
    retirement_pending: Reading[bool]
    """``nvmlDeviceGetRetiredPagesPendingStatus``, of cards before row remapping."""
    recovery: Reading[int]
    """``nvmlDeviceGpuRecoveryAction_t``, from field NVML_FI_DEV_GET_GPU_RECOVERY_ACTION; 0 is none."""
    temperature_c: Reading[int]
    persistence: Reading[bool]
    """Whether the driver keeps the card awake (``nvmlDeviceGetPersistenceMode``); waking takes 1 to 3 s."""


class Topology(NamedTuple):
    """How the cards of a host are wired; slow to read on hardware, so it is read apart and cached."""

    ancestors: Mapping[tuple[str, str], Ancestor]
    """Keys are PCI bus ids in ascending order."""
    nvlinks: Mapping[str, tuple[NvLink, ...]]
    """By PCI bus id, active links only."""
    p2p_nvlink: Mapping[tuple[str, str], bool]
    """Whether NVML calls the pair connected by NVLink (``nvmlDeviceGetP2PStatus``)."""


class Observation(NamedTuple):
    """One reading of one host."""

    origin: Origin
    driver: Reading[str]
    """E.g. ``570.124.06``."""
    nvml: Reading[str]
    """The library's version, e.g. ``12.570.124.06``."""
    cuda: Reading[str]
    """The newest CUDA the driver runs, e.g. ``12.8``."""
    cards: tuple[Card, ...]
    machine: str | None = None
    """The emulated machine's name."""
    unseen: tuple[str, ...] = ()
    """NVIDIA GPUs on the PCI bus that NVML did not list, by bus id."""
    refused: int = 0
    """Cards that NVML counts and this process may not open, as under a device cgroup: not among ``cards``."""
    topology: Topology | None = None


class Key(NamedTuple):
    """What a wiring is true for."""

    boot_id: str
    driver: str
    buses: tuple[str, ...]
    """The cards' PCI bus ids as NVML lists them; a card lost or moved is another wiring."""


def key_of(observation: Observation, boot_id: str) -> Key:
    """The key of what was observed."""
    return Key(
        boot_id=boot_id,
        driver=value(observation.driver, ""),
        buses=tuple(value(card.pci_bus_id, "") for card in observation.cards),
    )
