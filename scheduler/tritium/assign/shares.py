"""Decides which devices replicas share: by memory promised, never more than a device has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from tritium.assign.index import Entry
from tritium.assign.layout import Layout, cpus_near
from tritium.assign.policies import Policy, Rooms
from tritium.assign.rules import lack
from tritium.assign.types import Request, Share
from tritium_discovery.device import Device, Uuid

__all__ = ["left_of", "share_layout", "share_room"]


def share_room(entry: Entry, request: Request) -> tuple[int, int, bool]:
    """Return a host's room for replicas: how many fit besides the seated, how tightly, and if those do.

    It is tight, 1, if no device needs to be opened that nobody shares yet.
    """
    on_devices = _rooms(entry, request)
    units, tight, seats_fit = 0, 0, True
    for part, seats in _parts(entry):
        fitting = int(on_devices.units[part].sum())
        if seats is None:
            units += fitting
            tight += int((on_devices.units * on_devices.tight)[part].sum())
        else:
            seats_fit = seats_fit and fitting >= seats
    return units, int(tight >= request.members), seats_fit


def share_layout(entry: Entry, request: Request, policy: Policy, members: int) -> Layout:
    """Put replicas on a host's devices by the same policy that put them on the host."""
    on_devices = _rooms(entry, request)
    take = np.zeros_like(on_devices.units)
    free = np.zeros(len(take), bool)
    for part, seats in _parts(entry):
        if seats is None:
            free |= part
        else:
            take += policy(_inside(on_devices, part), seats)
    take += policy(_inside(on_devices, free), members - int(take.sum()))
    devices = np.repeat(np.arange(len(take)), take).tolist()
    shape, _ = entry.bucket
    pools = tuple(
        next(pool for pool, part in enumerate(shape.pools) if part >> position & 1) for position in devices
    )
    return Layout(pools, tuple(devices), tuple(cpus_near(shape, [position]) for position in devices))


def left_of(device: Device, shares: Iterable[Share]) -> int:
    """Return the MiB that may still be promised: free as measured, less promised but not yet used."""
    return max(0, device.free_mib - sum(max(0, share.mib - share.used_mib) for share in shares))


def _rooms(entry: Entry, request: Request) -> Rooms:
    """Return by device how many replicas it still takes; ``tight`` is 1 if it has some."""
    shares: dict[Uuid, list[Share]] = {}
    for share in (share for pool in entry.pools for share in pool.shares):
        shares.setdefault(share.device, []).append(share)
    held = {uuid for pool in entry.pools for uuid in pool.held}
    shape, _ = entry.bucket
    units = [
        left_of(device, shares.get(device.uuid, ())) // request.share_mib
        if device.healthy and device.uuid not in held and lack(kind, request) is None
        else 0
        for device, kind in zip(entry.devices, shape.kinds, strict=True)
    ]
    tight = [int(uuid in shares) for uuid in entry.uuids]
    return Rooms(np.array(units, np.int64), np.array(tight, np.int64), np.zeros(len(units), np.int64))


def _parts(entry: Entry) -> Iterator[tuple[npt.NDArray[np.bool_], int | None]]:
    """Yield each pool's devices and seats."""
    shape, _ = entry.bucket
    for mask, seats in zip(shape.pools, shape.seats, strict=True):
        yield np.array([mask >> position & 1 for position in range(len(entry.devices))], bool), seats


def _inside(rooms: Rooms, part: npt.NDArray[np.bool_]) -> Rooms:
    return rooms._replace(units=np.where(part, rooms.units, 0))
