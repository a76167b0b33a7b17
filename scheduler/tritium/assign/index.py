"""Decides nothing: a snapshot put in an order in which ten thousand devices are looked at in milliseconds.

Hosts of one make with the same devices free are alike to a request, whatever they are called: they
fall into one bucket, and everything about the bucket is computed once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter

import numpy as np

from tritium.assign.deal import deal, in_use, kind_of
from tritium.assign.layout import Shape, shape_of
from tritium.assign.links import costs_of
from tritium.assign.policies import Numbers
from tritium.assign.types import Host, Pool, Request, Snapshot
from tritium_discovery.device import Device, HostId, Uuid

__all__ = ["Bucket", "Entry", "Index"]

Bucket = tuple[Shape, int]
"""What alike hosts have in common: their shape, and the devices that are healthy and free, as a bit mask."""


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
    bucket: Bucket
    shared: bool
    """Whether pools list the same devices: which pool gets which depends on the request then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """A snapshot, ordered; build it once where many requests are placed on one snapshot."""

    snapshot: Snapshot
    entries: tuple[Entry, ...]
    """In order of rack and host, which is the order of ranks; all columns speak of these positions."""
    buckets: tuple[Bucket, ...] = field(repr=False)
    """Those that the entries fall into, each once."""
    bucket_of: Numbers = field(compare=False, repr=False)
    """By entry: the position of its bucket."""
    rack_of: Numbers = field(compare=False, repr=False)
    """By entry: its rack, numbered in order of name."""

    @staticmethod
    def of(snapshot: Snapshot) -> Index:
        """Index a snapshot."""
        return _ordered(snapshot, map(_seen, snapshot.hosts))

    def changed(self, hosts: Iterable[Host]) -> Index:
        """Return the index with some hosts as they are now; the others are not looked at again."""
        new = {host.id: host for host in hosts}
        snapshot = Snapshot(hosts=tuple(new.get(host.id, host) for host in self.snapshot.hosts))
        kept = (entry for entry in self.entries if entry.id not in new)
        return _ordered(snapshot, [*kept, *map(_seen, new.values())])

    def freed(self, masks: Mapping[int, int]) -> Index:
        """Return the index with more devices free, as bit masks by the position of the entry.

        It is a thousandth of the work of `changed`, and good for requests for whole devices only: the
        entries still say who has what.
        """
        numbers = {bucket: number for number, bucket in enumerate(self.buckets)}
        bucket_of = self.bucket_of.copy()
        for position, mask in masks.items():
            shape, free = self.entries[position].bucket
            bucket_of[position] = numbers.setdefault((shape, free | mask), len(numbers))
        return replace(self, buckets=tuple(numbers), bucket_of=bucket_of)

    def suited(self, request: Request) -> Index:
        """Return the index with devices that several pools list dealt as the request needs them."""
        shared = {entry.id for entry in self.entries if entry.shared}
        if not shared:
            return self
        again = [_seen(host, request) for host in self.snapshot.hosts if host.id in shared]
        return _ordered(self.snapshot, [*(e for e in self.entries if not e.shared), *again])


def _ordered(snapshot: Snapshot, seen: Iterable[Entry]) -> Index:
    entries = tuple(sorted(seen, key=attrgetter("rack", "id")))
    buckets: dict[Bucket, int] = {}
    racks: dict[str, int] = {}
    bucket_of = [buckets.setdefault(entry.bucket, len(buckets)) for entry in entries]
    rack_of = [racks.setdefault(entry.rack, len(racks)) for entry in entries]
    return Index(
        snapshot=snapshot,
        entries=entries,
        buckets=tuple(buckets),
        bucket_of=np.array(bucket_of, np.int64),
        rack_of=np.array(rack_of, np.int64),
    )


def _seen(host: Host, request: Request | None = None) -> Entry:
    """Bring one host into order: its shape, its free devices, and its names."""
    pools = sorted(host.pools, key=lambda pool: pool.name)
    dealt = deal(pools, request)
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
        tuple((-1 if device.numa_node is None else device.numa_node, device.cpus) for device in devices),
    )
    return Entry(
        id=host.id,
        rack=host.rack,
        pools=tuple(pools),
        devices=devices,
        uuids=tuple(device.uuid for device in devices),
        bucket=(shape, free),
        shared=len(devices) < sum(len(pool.devices) for pool in pools),
    )
