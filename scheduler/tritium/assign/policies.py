"""Decides how many groups go to which host: one small function per policy.

A policy gets the hosts' rooms and the number of groups, which fit in all, and says how many of them each
room takes. Rooms stand in order of rack and host, and of equal ones the first is taken: no ties.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["POLICIES", "SCATTERING", "Numbers", "Policy", "Rooms", "packed", "spread"]

Numbers = npt.NDArray[np.int64]
"""One number for each host, in order of rack and host."""


class Rooms(NamedTuple):
    """Every host's room for a request: columns, because there may be thousands."""

    units: Numbers
    """Groups of members that fit."""
    tight: Numbers
    """How well it suits the whole request: 2 if NVLinks join all of it, 1 if one PCIe switch does.

    For shares 1 if no device needs to be opened that nobody shares yet.
    """
    rack: Numbers
    """The rack it stands in, numbered from 0."""


Policy = Callable[[Rooms, int], Numbers]
"""Says how many of the groups each room takes."""


def packed(rooms: Rooms, units: int) -> Numbers:
    """Take the tightest domain that is large enough, and in it as few hosts as can be.

    A net of NVLinks before a switch before a host before a rack before the cluster; of equal ones
    the smallest. Inside a rack the hosts with most room come first, and the last is the one that just fits.

    >>> rooms = Rooms(units=np.array([8, 2, 4]), tight=np.zeros(3, int), rack=np.zeros(3, int))
    >>> packed(rooms, 3), packed(rooms, 10)
    (array([0, 0, 3]), array([8, 2, 0]))
    """
    take = np.zeros_like(rooms.units)
    if units == 0:
        return take
    domain = _tightest_rack(rooms, units)
    most_first = domain[np.lexsort((-rooms.units[domain], -rooms.tight[domain]))]
    filled = np.cumsum(rooms.units[most_first])
    last = np.searchsorted(filled, units)
    whole, others = most_first[:last], most_first[last:]
    take[whole] = rooms.units[whole]
    left = units - take.sum()
    fitting = others[rooms.units[others] >= left]
    just = fitting[np.lexsort((rooms.units[fitting], -rooms.tight[fitting]))[0]]
    take[just] = left
    return take


def _tightest_rack(rooms: Rooms, units: int) -> Numbers:
    """Return the hosts of the rack that just fits; all hosts if one fits alone, or no rack does."""
    sizes = np.bincount(rooms.rack, weights=rooms.units)
    fitting = np.flatnonzero(sizes >= units)
    if np.any(rooms.units >= units) or not len(fitting):
        return np.arange(len(rooms.units))
    return np.flatnonzero(rooms.rack == fitting[np.argmin(sizes[fitting])])


def spread(rooms: Rooms, units: int) -> Numbers:
    """Give every host one group before any gets its second: a lost host takes as little as can be with it.

    >>> spread(Rooms(units=np.array([8, 2, 4]), tight=np.zeros(3, int), rack=np.zeros(3, int)), 7)
    array([3, 2, 2])
    """
    full_rounds = bisect_left(
        range(1, units), units, key=lambda each: int(np.minimum(rooms.units, each).sum())
    )
    take = np.minimum(rooms.units, full_rounds)
    most_first = np.argsort(-rooms.units, kind="stable")
    take[most_first[: units - take.sum()]] += 1
    return take


POLICIES: Mapping[str, Policy] = {"packed": packed, "spread": spread}
"""By the name that requests and pipeline files use."""

SCATTERING: frozenset[Policy] = frozenset({spread})
"""Policies that keep members apart inside a host too: on NUMA nodes and switches of their own, where the
links to the CPU, and what fails together, are shared by fewest."""
