"""Decides where a request goes: room per host, members per host, devices per member, in that order."""

from __future__ import annotations

from tritium.assign.index import Index
from tritium.assign.layout import layout
from tritium.assign.policies import SCATTERING, Policy
from tritium.assign.rooms import Spot, keep_apart, spots_for
from tritium.assign.rules import apart_of, form_of
from tritium.assign.seating import Crew, Ranks
from tritium.assign.shares import share_layout
from tritium.assign.types import Request
from tritium_discovery.device import HostId

__all__ = ["place"]


def place(index: Index, request: Request, policy: Policy) -> Ranks | None:
    """Place a request, its wishes included; ``None`` if it does not fit."""
    # 1. How much room is there on each host?
    spots = spots_for(index, request)
    counts = {spot.entry.id: spot.seated for spot in spots}
    left = request.members - sum(counts.values())
    rooms = keep_apart([spot.room for spot in spots], apart_of(request), policy)
    enough = 0 <= left <= sum(room.units for room in rooms) * request.group
    if not enough or not all(spot.seats_fit for spot in spots):
        return None
    # 2. How many members go to which host? Spark's seats first, the rest as the policy says.
    for room, units in policy(rooms, left // request.group):
        counts[room.host] += units * request.group
    used = [spot for spot in spots if counts[spot.entry.id]]
    used.sort(key=lambda spot: (spot.entry.rack, spot.entry.id))
    if not _are_apart(used, counts, request):
        return None
    # 3. Which devices does each member get, and in which order?
    form = form_of(request)
    if request.share_mib:
        return Ranks(
            [Crew(s.entry, share_layout(s.shape, s.entry, request, policy, counts[s.entry.id])) for s in used]
        )
    scattered = policy in SCATTERING
    return Ranks(
        [
            Crew(s.entry, layout(s.shape, s.usable, counts[s.entry.id], form, scattered=scattered))
            for s in used
        ]
    )


def _are_apart(used: list[Spot], counts: dict[HostId, int], request: Request) -> bool:
    """Check that no two groups share a host or rack where they must not: Spark's seats may."""
    apart = apart_of(request)
    if apart is None:
        return True
    places = {spot.entry.id if apart == "host" else spot.entry.rack for spot in used}
    return len(places) == len(used) and all(counts[spot.entry.id] == request.group for spot in used)
