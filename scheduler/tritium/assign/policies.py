"""Decides how many groups go to which host: one small function per policy.

Each policy gets the hosts' rooms and the number of groups, which fit; each ends in a total order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from tritium_discovery.device import HostId

__all__ = ["POLICIES", "SCATTERING", "Policy", "Room", "Take", "packed", "spread"]


class Room(NamedTuple):
    """One host's room for a request."""

    host: HostId
    rack: str
    units: int
    """Groups of members that fit."""
    tight: int
    """How well it suits the whole request: 2 if NVLinks join all of it, 1 if one PCIe switch does.

    For shares 1 if no device needs to be opened that nobody shares yet.
    """


Take = list[tuple[Room, int]]
"""Hosts and how many groups each takes, none of them 0."""

Policy = Callable[[Sequence[Room], int], Take]
"""Distributes groups over rooms that have enough for them in all."""


def packed(rooms: Sequence[Room], units: int) -> Take:
    """Take the tightest domain that is large enough, and in it as few hosts as can be.

    A net of NVLinks before a switch before a host before a rack before the cluster; of equal ones
    the smallest. Inside a rack the hosts with most room come first, and the last is the one that just fits.

    >>> rooms = [Room(HostId(name), "", units, 0) for name, units in {"a": 8, "b": 2, "c": 4}.items()]
    >>> [(room.host, units) for room, units in packed(rooms, 3)]
    [('c', 3)]
    >>> [(room.host, units) for room, units in packed(rooms, 10)]
    [('a', 8), ('b', 2)]
    """
    if units == 0:
        return []
    domain = [room for room in _tightest_rack(rooms, units) if room.units]
    most_first = sorted(domain, key=lambda room: (-room.tight, -room.units, room.host))
    filled = accumulate((room.units for room in most_first), initial=0)
    last = next(
        n
        for n, (room, before) in enumerate(zip(most_first, filled, strict=False))
        if room.units >= units - before
    )
    whole, left = most_first[:last], units - sum(room.units for room in most_first[:last])
    fitting = (room for room in most_first[last:] if room.units >= left)
    just = min(fitting, key=lambda room: (-room.tight, room.units, room.host))
    return [*((room, room.units) for room in whole), (just, left)]


def _tightest_rack(rooms: Sequence[Room], units: int) -> Sequence[Room]:
    """Return the hosts of the rack that just fits; all hosts if one fits alone, or no rack does."""
    racks: dict[str, list[Room]] = {}
    for room in rooms:
        if room.units >= units:
            return rooms
        racks.setdefault(room.rack, []).append(room)
    sizes = {rack: sum(room.units for room in inside) for rack, inside in racks.items()}
    fitting = [rack for rack, size in sizes.items() if size >= units]
    return racks[min(fitting, key=lambda rack: (sizes[rack], rack))] if fitting else rooms


def spread(rooms: Sequence[Room], units: int) -> Take:
    """Give every host one group before any gets its second: a lost host takes as little as can be with it.

    >>> rooms = [Room(HostId(name), "", units, 0) for name, units in {"a": 8, "b": 2, "c": 4}.items()]
    >>> [(room.host, units) for room, units in spread(rooms, 7)]
    [('a', 3), ('c', 2), ('b', 2)]
    """
    order = sorted(rooms, key=lambda room: (-room.units, room.host))
    level, left, served = 0, units, 0
    while left > 0:
        level += 1
        open_ = sum(room.units >= level for room in order)
        served, left = min(open_, left), left - open_
    return [
        (room, min(room.units, level - (position >= served)))
        for position, room in enumerate(order)
        if min(room.units, level - (position >= served)) > 0
    ]


POLICIES: Mapping[str, Policy] = {"packed": packed, "spread": spread}
"""By the name that requests and pipeline files use."""

SCATTERING: frozenset[Policy] = frozenset({spread})
"""Policies that keep members apart inside a host too: on NUMA nodes and switches of their own, where the
links to the CPU, and what fails together, are shared by fewest."""
