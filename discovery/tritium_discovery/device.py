"""What a host's accelerators are: the value types that everything above speaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NewType

from tritium_discovery.observation import Origin, Uuid

__all__ = ["Device", "HostId", "Inventory", "Link", "LinkKind", "Origin", "Uuid"]

HostId = NewType("HostId", str)
"""One locality: all processes that see the same devices of one booted host, e.g. ``node-7/3fd2a1``.

Two pods on one node see different devices, so they are two localities; two executors that are not
isolated from each other are one.
"""


class LinkKind(IntEnum):
    """The path between two devices, slowest first (the legend of ``nvidia-smi topo -m``)."""

    SYS = 1
    """Over the interconnect between NUMA nodes."""
    NODE = 2
    """Over the interconnect between PCIe host bridges of one NUMA node."""
    PHB = 3
    """Over one PCIe host bridge."""
    PXB = 4
    """Over several PCIe switches."""
    PIX = 5
    """Over one PCIe switch."""
    SAME = 6
    """Parts of one card: MIG instances of one parent."""
    NVLINK = 7
    """Over NVLinks, direct or through an NVSwitch."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Link:
    """How two devices reach each other; links compare by speed."""

    kind: LinkKind
    lanes: int = 0
    """NVLinks between the two, e.g. 12; 0 unless ``kind`` is ``NVLINK``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device that a process could be given: a whole card or a MIG instance."""

    uuid: Uuid
    address: int
    """Position in the visible set of the process that asked, e.g. ``3``: what Spark is told."""
    pci_bus_id: str
    """Of the card, e.g. ``00000000:07:00.0`` (``nvmlDeviceGetPciInfo``)."""
    product: str
    """E.g. ``NVIDIA A100-SXM4-40GB`` (``nvmlDeviceGetName``)."""
    memory_mib: int
    """All of its memory, e.g. ``40960``; of a unified-memory part the host's."""
    free_mib: int
    """Free when it was read."""
    capability: tuple[int, int]
    """CUDA compute capability, e.g. ``(8, 0)``."""
    numa_node: int | None = None
    """The NUMA node it hangs on, ``None`` where the platform does not say (sysfs prints -1)."""
    cpus: str = ""
    """The CPUs next to it as the kernel writes lists, e.g. ``48-63,176-191``; empty where nobody says."""
    parent: Uuid | None = None
    """For a MIG instance the card it is cut from."""
    mig_profile: str | None = None
    """For a MIG instance its profile, e.g. ``1g.5gb``."""
    processes: tuple[int, ...] = ()
    """Pids of the compute processes that NVML sees on it, in the host's numbering."""
    troubles: tuple[str, ...] = ()
    """Why it must not be used, a sentence each; empty means healthy."""

    @property
    def healthy(self) -> bool:
        """Whether no health rule spoke against it."""
        return not self.troubles


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All devices that one process can see on its host, healthy or not, by address."""

    host: HostId
    hostname: str
    rack: str = ""
    """The rack or zone that the host stands in, e.g. ``rack-12``; empty where nobody says."""
    origin: Origin
    machine: str | None = None
    """The emulated machine's name, e.g. ``dgx-a100``; ``None`` on real hardware."""
    devices: tuple[Device, ...] = ()
    links: Mapping[tuple[Uuid, Uuid], Link] = field(default_factory=dict)
    """Between each pair of devices; the key's UUIDs are in ascending order."""
