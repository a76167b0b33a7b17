"""Decides how much room each host has for a request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tritium.assign.index import Index
from tritium.assign.layout import Shape, choose, room
from tritium.assign.policies import Numbers, Policy, Rooms
from tritium.assign.rules import Form, form_of, lack
from tritium.assign.shares import share_room
from tritium.assign.types import Request

__all__ = ["Space", "keep_apart", "space_for"]


class Space(NamedTuple):
    """Every host's room for a request: columns in the index's order of hosts."""

    usable: Sequence[int]
    """By bucket: the devices that are free, healthy and of the right kind, as a bit mask."""
    seated: Numbers
    """Members that must go to each host, because Spark has started their tasks there."""
    seats_fit: npt.NDArray[np.bool_]
    """Whether there are devices for them."""
    rooms: Rooms
    """Groups that fit besides them."""


def space_for(index: Index, request: Request) -> Space:
    """Return every host's room for a request."""
    return _shared_space(index, request) if request.share_mib else _whole_space(index, request)


def _whole_space(index: Index, request: Request) -> Space:
    """Return the room for whole devices: it is worked out once for all hosts of a bucket."""
    form = form_of(request)
    kinds = {kind for shape, _ in index.buckets for kind, _ in shape.makes}
    suits = {kind: lack(kind, request) is None for kind in kinds}
    fitting = (sum(mask for kind, mask in shape.makes if suits[kind]) for shape, _ in index.buckets)
    alike = [(shape, free & mask) for (shape, free), mask in zip(index.buckets, fitting, strict=True)]
    units = [_units(shape, usable, form, request) for shape, usable in alike]
    whole = form._replace(group=request.members)
    nearest = (whole._replace(near="switch"), whole._replace(near="nvlink"))
    tight = [
        _tight(shape, usable, nearest) if form.devices_each and count * form.group >= request.members else 0
        for (shape, usable), count in zip(alike, units, strict=True)
    ]
    return Space(
        usable=[usable for _, usable in alike],
        seated=_seated(index),
        seats_fit=_by_host(index, (_seats_fit(shape, usable, form) for shape, usable in alike)) > 0,
        rooms=Rooms(units=_by_host(index, units), tight=_by_host(index, tight), rack=index.rack_of),
    )


def _shared_space(index: Index, request: Request) -> Space:
    """Return the room for replicas that share devices, which every host has its own of."""
    by_entry = [share_room(entry, request) for entry in index.entries]
    units, tight, fit = np.array(by_entry, np.int64).reshape(len(by_entry), 3).T
    return Space(
        usable=[free for _, free in index.buckets],
        seated=_seated(index),
        seats_fit=fit > 0,
        rooms=Rooms(units=units, tight=tight, rack=index.rack_of),
    )


def _by_host(index: Index, by_bucket: Iterable[int]) -> Numbers:
    return np.array([*by_bucket], np.int64)[index.bucket_of]


def _seated(index: Index) -> Numbers:
    return _by_host(index, (shape.seated for shape, _ in index.buckets))


def _seats_fit(shape: Shape, usable: int, form: Form) -> bool:
    """Return whether there are devices for the members that Spark has seated, in whole groups."""
    seated = shape.seated
    enough = seated * form.devices_each == 0 or choose(shape, usable, seated, form) > 0
    return enough and seated % form.group == 0


def _units(shape: Shape, usable: int, form: Form, request: Request) -> int:
    """Return how many groups fit into the pools without seats; ranks without devices always do."""
    if form.devices_each == 0:
        return request.members // form.group if None in shape.seats else 0
    return room(shape, usable, form)


def _tight(shape: Shape, usable: int, nearest: tuple[Form, Form]) -> int:
    """Return how closely this host can join all of the request: 2 by NVLinks, 1 by one switch, else 0."""
    switch, nvlink = nearest
    if room(shape, usable, nvlink):
        return 2
    return min(1, room(shape, usable, switch))


def keep_apart(rooms: Rooms, apart: str | None, policy: Policy) -> Rooms:
    """Leave room for one group per host or rack, where groups must not share one."""
    if apart is None:
        return rooms
    if apart == "host":
        return rooms._replace(units=np.minimum(rooms.units, 1))
    one_each = np.zeros_like(rooms.units)
    for rack in np.unique(rooms.rack[rooms.units > 0]):
        inside = rooms._replace(units=np.where(rooms.rack == rack, rooms.units, 0))
        one_each += policy(inside, 1)
    return rooms._replace(units=one_each)
