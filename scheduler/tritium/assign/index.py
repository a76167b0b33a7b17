"""Decides nothing: a snapshot put in an order in which ten thousand devices are looked at in milliseconds.

Hosts of one make with the same devices free are alike to a request, whatever they are called: they
fall into one bucket, and everything about the bucket is computed once.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tritium.assign.layout import Shape, shape_of
from tritium.assign.links import costs_of
from tritium.assign.rules import Kind
from tritium.assign.types import Host, Pool, Snapshot
from tritium_discovery.device import Device, HostId, Uuid

__all__ = ["Entry", "Index", "deal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One host as the assigner sees it."""

    id: HostId
    rack: str
    pools: tuple[Pool, ...]
    """In order of name."""
    devices: tuple[Device, ...]
    """By pool, then by PCI bus: the positions that the shape and all masks speak of."""
    uuids: tuple[Uuid, ...]
    """Of the devices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """A snapshot, ordered; build it once where many requests are placed on one snapshot."""

    snapshot: Snapshot
    buckets: Mapping[tuple[Shape, int], tuple[Entry, ...]]
    """Hosts by shape and by the devices that are healthy and free (a bit mask), in order of host."""

    @staticmethod
    def of(snapshot: Snapshot) -> Index:
        """Index a snapshot."""
        return Index(snapshot=snapshot, buckets={}).changed(snapshot.hosts)

    def changed(self, hosts: Iterable[Host]) -> Index:
        """Return the index with some hosts as they are now; the others are not looked at again."""
        new = {host.id: host for host in hosts}
        buckets: dict[tuple[Shape, int], list[Entry]] = {
            key: [entry for entry in entries if entry.id not in new] for key, entries in self.buckets.items()
        }
        for host in new.values():
            shape, free, entry = _seen(host)
            insort(buckets.setdefault((shape, free), []), entry, key=lambda entry: entry.id)
        return Index(
            snapshot=Snapshot(hosts=tuple(new.get(host.id, host) for host in self.snapshot.hosts)),
            buckets={key: tuple(entries) for key, entries in buckets.items() if entries},
        )


def _seen(host: Host) -> tuple[Shape, int, Entry]:
    """Bring one host into order: its shape, its free devices, and its names."""
    pools = sorted(host.pools, key=lambda pool: pool.name)
    dealt = deal(pools)
    devices = tuple(device for mine in dealt for device in mine)
    taken = in_use(pools)
    free = sum(1 << i for i, device in enumerate(devices) if device.healthy and device.uuid not in taken)
    masks, start = [], 0
    for mine in dealt:
        masks.append(((1 << len(mine)) - 1) << start)
        start += len(mine)
    shape = shape_of(
        tuple(kind_of(device) for device in devices),
        tuple(masks),
        tuple(pool.seats for pool in pools),
        costs_of(devices, host.links),
        tuple(
            (-1, "") if d.numa_node is None else (d.numa_node, host.cpus.get(d.numa_node, ""))
            for d in devices
        ),
    )
    entry = Entry(
        id=host.id,
        rack=host.rack,
        pools=tuple(pools),
        devices=devices,
        uuids=tuple(device.uuid for device in devices),
    )
    return shape, free, entry


def kind_of(device: Device) -> Kind:
    """Return what requests may ask of a device."""
    return Kind(device.product, device.memory_mib, device.capability, device.mig_profile)


def in_use(pools: Iterable[Pool]) -> set[Uuid]:
    """Return the devices of a host that nobody may get whole: any pool's word is enough."""
    return {uuid for pool in pools for uuid in (*pool.held, *(share.device for share in pool.shares))}


def deal(pools: list[Pool]) -> list[list[Device]]:
    """Give each device to one pool: executors without isolation all list the same devices.

    Devices that the same pools list are cut into runs of neighbours, in proportion to the pools'
    seats; so whenever there are enough for all seats, each pool gets enough for its own.
    """
    listed: dict[Uuid, tuple[Device, set[int]]] = {}
    for number, pool in enumerate(pools):
        for device in pool.devices:
            listed.setdefault(device.uuid, (device, set()))[1].add(number)
    taken = in_use(pools)
    heaps: dict[tuple[tuple[int, ...], bool], list[Device]] = {}
    for device, listers in listed.values():
        usable = device.healthy and device.uuid not in taken
        heaps.setdefault((tuple(sorted(listers)), usable), []).append(device)
    dealt: list[list[Device]] = [[] for _ in pools]
    for (numbers, _), heap in heaps.items():
        heap.sort(key=_by_bus)
        weights = [1 if (seats := pools[number].seats) is None else seats for number in numbers]
        total, reached = max(1, sum(weights)), 0
        for number, weight in zip(numbers, weights, strict=True):
            dealt[number] += heap[len(heap) * reached // total : len(heap) * (reached + weight) // total]
            reached += weight
        if reached == 0:
            dealt[numbers[0]] += heap
    return [sorted(mine, key=_by_bus) for mine in dealt]


def _by_bus(device: Device) -> tuple[str, int, Uuid]:
    return (device.pci_bus_id, device.address, device.uuid)
