"""Topology: the class of the path between each two devices, from how their cards are wired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from tritium_discovery.device import Device, Link, LinkKind, Uuid
from tritium_discovery.observation import Ancestor, Topology

__all__ = ["links"]

_KINDS: Mapping[Ancestor, LinkKind] = MappingProxyType(
    {
        Ancestor.INTERNAL: LinkKind.PIX,
        Ancestor.SINGLE: LinkKind.PIX,
        Ancestor.MULTIPLE: LinkKind.PXB,
        Ancestor.HOSTBRIDGE: LinkKind.PHB,
        Ancestor.NODE: LinkKind.NODE,
        Ancestor.SYSTEM: LinkKind.SYS,
    }
)
"""The legend of ``nvidia-smi topo -m``; INTERNAL is two GPUs of one board, the closest PCIe class."""


def links(devices: Sequence[Device], topology: Topology) -> Mapping[tuple[Uuid, Uuid], Link]:
    """The link of each pair of devices; a pair that nobody can say anything about is as far as can be."""
    return {
        (one.uuid, other.uuid): _link(one, other, topology)
        for one in devices
        for other in devices
        if one.uuid < other.uuid
    }


def _link(one: Device, other: Device, topology: Topology) -> Link:
    if one.pci_bus_id == other.pci_bus_id:
        return Link(kind=LinkKind.SAME)
    if one.parent is None and other.parent is None:  # MIG instances have no NVLink
        lanes = _lanes(one.pci_bus_id, other.pci_bus_id, topology)
        if lanes:
            return Link(kind=LinkKind.NVLINK, lanes=lanes)
    low, high = sorted((one.pci_bus_id, other.pci_bus_id))
    return Link(kind=_KINDS[topology.ancestors.get((low, high), Ancestor.SYSTEM)])


def _lanes(one: str, other: str, topology: Topology) -> int:
    """NVLinks between two cards; behind switches each reaches the other with all that it has there.

    Counting only links whose other end is the peer gives 0 on every NVSwitch board (go-gpuallocator).
    """
    here, there = topology.nvlinks.get(one, ()), topology.nvlinks.get(other, ())
    direct = sum(link.remote_bus_id == other for link in here)
    low, high = sorted((one, other))
    if not topology.p2p_nvlink.get((low, high), True):
        return direct
    return direct + min(sum(link.to_switch for link in here), sum(link.to_switch for link in there))
