"""Decides how much room each host has for a request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tritium.assign.index import Entry, Index
from tritium.assign.layout import Shape, choose, room
from tritium.assign.policies import Policy, Room
from tritium.assign.rules import form_of, lack
from tritium.assign.shares import share_rooms, share_seats_fit
from tritium.assign.types import Request

__all__ = ["Spot", "keep_apart", "spots_for"]


class Spot(NamedTuple):
    """One host and its room for a request."""

    entry: Entry
    shape: Shape
    usable: int
    """The devices that are free, healthy and of the right kind, as a bit mask."""
    seated: int
    """Members that must go here, because Spark has started their tasks here."""
    seats_fit: bool
    """Whether there are devices for them."""
    room: Room
    """Groups that fit besides them."""


def spots_for(index: Index, request: Request) -> list[Spot]:
    """Return every host's room for a request."""
    spots_in = _sharing_spots if request.share_mib else _whole_spots
    return [
        spot
        for (shape, free), entries in index.buckets.items()
        for spot in spots_in(shape, free, entries, request)
    ]


def _whole_spots(shape: Shape, free: int, entries: Iterable[Entry], request: Request) -> list[Spot]:
    """Return the room of alike hosts for whole devices: it is worked out once for all of them."""
    form = form_of(request)
    usable = free & _suitable(shape, request)
    seated = _seated(shape)
    seats_fit = seated * form.devices_each == 0 or choose(shape, usable, seated, form) > 0
    seats_fit = seats_fit and seated % form.group == 0
    units = _units(shape, usable, request)
    tight = _tight(shape, usable, request) if units * form.group >= request.members else 0
    return [
        Spot(entry, shape, usable, seated, seats_fit, Room(entry.id, entry.rack, units, tight))
        for entry in entries
    ]


def _sharing_spots(shape: Shape, free: int, entries: Iterable[Entry], request: Request) -> list[Spot]:
    """Return the room of hosts for replicas that share devices; tight if no untouched device is needed."""
    spots, seated = [], _seated(shape)
    unseated = sum(part for part, seats in zip(shape.pools, shape.seats, strict=True) if seats is None)
    for entry in entries:
        on_devices = share_rooms(shape, entry, request)
        rooms = [room for position, room in on_devices.items() if unseated >> position & 1]
        units = sum(room.units for room in rooms)
        tight = int(sum(room.units * room.tight for room in rooms) >= request.members)
        seats_fit = share_seats_fit(shape, on_devices)
        spots.append(Spot(entry, shape, free, seated, seats_fit, Room(entry.id, entry.rack, units, tight)))
    return spots


def _seated(shape: Shape) -> int:
    return sum(seats or 0 for seats in shape.seats)


def _suitable(shape: Shape, request: Request) -> int:
    return sum(1 << position for position, kind in enumerate(shape.kinds) if lack(kind, request) is None)


def _units(shape: Shape, usable: int, request: Request) -> int:
    """Return how many groups fit into the pools without seats; ranks without devices always do."""
    if request.devices_each == 0:
        return request.members // request.group if None in shape.seats else 0
    return room(shape, usable, form_of(request))


def _tight(shape: Shape, usable: int, request: Request) -> int:
    """Return how closely this host can join all of the request: 2 by NVLinks, 1 by one switch, else 0."""
    if request.devices_each == 0:
        return 0
    whole = form_of(request)._replace(group=request.members)
    if room(shape, usable, whole._replace(near="nvlink")):
        return 2
    return min(1, room(shape, usable, whole._replace(near="switch")))


def keep_apart(rooms: list[Room], apart: str | None, policy: Policy) -> list[Room]:
    """Leave room for one group per host or rack, where groups must not share one."""
    if apart is None:
        return rooms
    domains: dict[str, list[Room]] = {}
    for room_ in rooms:
        if room_.units:
            domains.setdefault(room_.host if apart == "host" else room_.rack, []).append(room_)
    return [policy(inside, 1)[0][0]._replace(units=1) for inside in domains.values()]
