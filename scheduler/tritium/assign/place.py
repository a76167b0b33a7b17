"""Decides where a request goes: room per host, members per host, devices per member, in that order."""

from __future__ import annotations

from functools import cache, partial

import numpy as np

from tritium.assign.index import Index
from tritium.assign.layout import layout
from tritium.assign.policies import SCATTERING, Numbers, Policy
from tritium.assign.rooms import Space, keep_apart, space_for
from tritium.assign.rules import apart_of, form_of
from tritium.assign.seating import Crew, Ranks
from tritium.assign.shares import share_layout
from tritium.assign.types import Request

__all__ = ["fits", "place"]


def place(index: Index, request: Request, policy: Policy) -> Ranks | None:
    """Place a request, its wishes included; ``None`` if it does not fit."""
    index = index.suited(request)
    # 1. How much room is there on each host?
    space = space_for(index, request)
    # 2. How many members go to which host?
    counts = _counts(index, space, request, policy)
    if counts is None:
        return None
    # 3. Which devices does each member get, and in which order?
    return Ranks(_crews(index, space, counts, request, policy))


def fits(index: Index, request: Request, policy: Policy) -> bool:
    """Return whether there is a place, without looking for the devices."""
    index = index.suited(request)
    return _counts(index, space_for(index, request), request, policy) is not None


def _counts(index: Index, space: Space, request: Request, policy: Policy) -> Numbers | None:
    """Return how many members go to each host: Spark's seats first, the rest as the policy says."""
    left = request.members - int(space.seated.sum())
    rooms = keep_apart(space.rooms, apart_of(request), policy)
    enough = 0 <= left <= int(rooms.units.sum()) * request.group
    if not enough or not space.seats_fit.all():
        return None
    counts = space.seated + policy(rooms, left // request.group) * request.group
    return counts if _are_apart(index, counts, request) else None


def _are_apart(index: Index, counts: Numbers, request: Request) -> bool:
    """Check that no two groups share a host or rack where they must not: Spark's seats may."""
    apart = apart_of(request)
    if apart is None:
        return True
    racks = index.rack_of[counts > 0]
    alone = apart == "host" or len(np.unique(racks)) == len(racks)
    return alone and bool((counts <= request.group).all())


def _crews(index: Index, space: Space, counts: Numbers, request: Request, policy: Policy) -> list[Crew]:
    """Seat each host's members, once somebody looks: on hosts of one bucket as many sit alike."""
    used = np.flatnonzero(counts)
    entries = [index.entries[position] for position in used.tolist()]
    members = counts[used].tolist()
    if request.share_mib:
        return [
            Crew(entry, count, cache(partial(share_layout, entry, request, policy, count)))
            for entry, count in zip(entries, members, strict=True)
        ]
    alike = list(zip(index.bucket_of[used].tolist(), members, strict=True))
    form, scattered = form_of(request), policy in SCATTERING
    layouts = {
        (bucket, count): partial(
            layout, index.buckets[bucket][0], space.usable[bucket], count, form, scattered=scattered
        )
        for bucket, count in set(alike)
    }
    return list(map(Crew, entries, members, map(layouts.__getitem__, alike)))
