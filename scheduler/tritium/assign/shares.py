"""Decides which devices replicas share: by memory promised, never more than a device has."""

from __future__ import annotations

from collections.abc import Iterable

from tritium.assign.index import Entry
from tritium.assign.layout import Layout, Shape, cpus_near
from tritium.assign.policies import Policy, Room
from tritium.assign.rules import lack
from tritium.assign.types import Request, Share
from tritium_discovery.device import Device, HostId, Uuid

__all__ = ["left_of", "share_layout", "share_rooms", "share_seats_fit"]


def share_rooms(shape: Shape, entry: Entry, request: Request) -> dict[int, Room]:
    """Return by position how many replicas each device still takes; ``tight`` is 1 if it has some."""
    shares: dict[Uuid, list[Share]] = {}
    for share in (share for pool in entry.pools for share in pool.shares):
        shares.setdefault(share.device, []).append(share)
    held = {uuid for pool in entry.pools for uuid in pool.held}
    return {
        position: Room(
            HostId(device.uuid),
            entry.id,
            left_of(device, shares.get(device.uuid, ())) // request.share_mib,
            int(device.uuid in shares),
        )
        for position, device in enumerate(entry.devices)
        if device.healthy and device.uuid not in held and lack(shape.kinds[position], request) is None
    }


def left_of(device: Device, shares: Iterable[Share]) -> int:
    """Return the MiB that may still be promised: free as measured, less promised but not yet used."""
    return max(0, device.free_mib - sum(max(0, share.mib - share.used_mib) for share in shares))


def share_seats_fit(shape: Shape, rooms: dict[int, Room]) -> bool:
    """Return whether every pool has room for the replicas that Spark has seated there."""
    return all(
        sum(room.units for position, room in rooms.items() if part >> position & 1) >= (seats or 0)
        for part, seats in zip(shape.pools, shape.seats, strict=True)
    )


def share_layout(shape: Shape, entry: Entry, request: Request, policy: Policy, members: int) -> Layout:
    """Put replicas on a host's devices by the same policy that put them on the host."""
    rooms = share_rooms(shape, entry, request)
    free = sum(part for part, seats in zip(shape.pools, shape.seats, strict=True) if seats is None)
    parts = [(part, seats) for part, seats in zip(shape.pools, shape.seats, strict=True) if seats is not None]
    parts.append((free, members - sum(seats for _, seats in parts)))
    devices: list[int] = []
    for part, count in parts:
        inside = {room.host: position for position, room in rooms.items() if part >> position & 1}
        for room, units in policy([rooms[position] for position in inside.values()], count):
            devices += [inside[room.host]] * units
    devices.sort()
    pools = tuple(
        next(n for n, part in enumerate(shape.pools) if part >> position & 1) for position in devices
    )
    return Layout(pools, tuple(devices), tuple(cpus_near(shape, [position]) for position in devices))
