"""Decides how much room each host has for a request."""

from __future__ import annotations

from typing import NamedTuple

from tritium.assign.index import Entry, Index
from tritium.assign.layout import Form, Shape, layout, room
from tritium.assign.policies import Policy, Room
from tritium.assign.rules import lack
from tritium.assign.types import Request

__all__ = ["Spot", "form_of", "keep_apart", "spots_for"]


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


def form_of(request: Request) -> Form:
    """Return how a request cuts the devices of a host."""
    return Form(request.devices_each, request.group, request.near)


def spots_for(index: Index, request: Request) -> list[Spot]:
    """Return every host's room; what hosts of one bucket have in common is worked out once."""
    form, spots = form_of(request), []
    for (shape, free), entries in index.buckets.items():
        usable = free & _suitable(shape, request)
        seated = sum(seats or 0 for seats in shape.seats)
        seats_fit = seated == 0 or (
            seated % form.group == 0 and layout(shape, usable, seated, form) is not None
        )
        units = _units(shape, usable, request)
        tight = _tight(shape, usable, request) if units * form.group >= request.members else 0
        spots += [
            Spot(entry, shape, usable, seated, seats_fit, Room(entry.id, entry.rack, units, tight))
            for entry in entries
        ]
    return spots


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
    for tight, net in ((2, "nvlink"), (1, "switch")):
        if room(shape, usable, Form(request.devices_each, request.members, net)):
            return tight
    return 0


def keep_apart(rooms: list[Room], apart: str | None, policy: Policy) -> list[Room]:
    """Leave room for one group per host or rack, where groups must not share one."""
    if apart is None:
        return rooms
    domains: dict[str, list[Room]] = {}
    for room_ in rooms:
        if room_.units:
            domains.setdefault(room_.host if apart == "host" else room_.rack, []).append(room_)
    return [policy(inside, 1)[0][0]._replace(units=1) for inside in domains.values()]
