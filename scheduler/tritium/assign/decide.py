"""Decides who gets which device: a snapshot and a request in, a placement or the reasons against it out."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat

from tritium.assign.index import Index
from tritium.assign.layout import Form, Layout, layout
from tritium.assign.policies import POLICIES, Policy
from tritium.assign.reasons import why_not
from tritium.assign.rooms import Spot, form_of, keep_apart, spots_for
from tritium.assign.types import (
    Assigned,
    Decision,
    Member,
    Placement,
    Request,
    Snapshot,
    Unassignable,
    Waiting,
)
from tritium.assign.waits import idle, waits_for
from tritium_discovery.device import HostId

__all__ = ["assign"]


def assign(snapshot: Snapshot | Index, request: Request, policy: str = "packed") -> Decision:
    """Choose a host, a pool and devices for every member of a request, or say what stands in the way.

    The answer depends on nothing but the arguments, so that every task of a gang computes the same
    one; the order of hosts, pools and devices in the snapshot never matters.

    Raises:
        KeyError: if there is no such policy in ``POLICIES``.
    """
    index = snapshot if isinstance(snapshot, Index) else Index.of(snapshot)
    members = _place(index, request, POLICIES[policy])
    if members is not None:
        return Assigned(placement=Placement(members=members))
    if _place(Index.of(idle(index.snapshot)), request, POLICIES[policy]) is not None:
        return Waiting(reasons=why_not(index, request, POLICIES[policy]), waits_for=waits_for(index.snapshot))
    return Unassignable(reasons=why_not(index, request, POLICIES[policy]))


def _place(index: Index, request: Request, policy: Policy) -> tuple[Member, ...] | None:
    """Place a request for whole devices, ``None`` if it does not fit."""
    # 1. What room is there on each host?
    spots = spots_for(index, request)
    counts = {spot.entry.id: spot.seated for spot in spots}
    left = request.members - sum(counts.values())
    rooms = keep_apart([spot.room for spot in spots], request.apart, policy)
    if left < 0 or sum(room.units for room in rooms) * request.group < left:
        return None
    if not all(spot.seats_fit for spot in spots):
        return None
    # 2. How many members go to which host? Spark's seats first, the rest as the policy says.
    for room, units in policy(rooms, left // request.group):
        counts[room.host] += units * request.group
    used = [spot for spot in spots if counts[spot.entry.id]]
    used.sort(key=lambda spot: (spot.entry.rack, spot.entry.id))
    if not _are_apart(used, counts, request):
        return None
    # 3. Which devices, and in which order?
    return _seat(used, counts, form_of(request))


def _are_apart(used: list[Spot], counts: dict[HostId, int], request: Request) -> bool:
    """Check that no two groups share a host or rack where they must not: Spark's seats may."""
    if request.apart is None:
        return True
    places = [spot.entry.id if request.apart == "host" else spot.entry.rack for spot in used]
    return len(set(places)) == len(places) and all(counts[spot.entry.id] == request.group for spot in used)


def _seat(used: list[Spot], counts: dict[HostId, int], form: Form) -> tuple[Member, ...] | None:
    """Number the members host by host and name their devices."""
    members: list[Member] = []
    for group_rank, spot in enumerate(used):
        seats = layout(spot.shape, spot.usable, counts[spot.entry.id], form)
        if seats is None:
            return None
        members += _named(seats, spot, len(members), group_rank)
    return tuple(members)


def _named(seats: Layout, spot: Spot, rank: int, group_rank: int) -> Iterable[Member]:
    """Put the host's own names into a layout that all hosts of its bucket share."""
    entry, members = spot.entry, len(seats.pools)
    uuids = iter([entry.uuids[position] for position in seats.devices])
    each = len(seats.devices) // members
    return map(
        Member._make,
        zip(
            range(rank, rank + members),
            range(members),
            repeat(group_rank),
            repeat(entry.id),
            [entry.pools[pool] for pool in seats.pools],
            zip(*[uuids] * each, strict=True) if each else repeat(()),
            seats.cpus,
            strict=False,
        ),
    )
