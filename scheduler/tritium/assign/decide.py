"""Decides who gets which device: a snapshot and a request in, a placement or the reasons against it out."""

from __future__ import annotations

from dataclasses import replace

from tritium.assign.index import Index
from tritium.assign.place import place
from tritium.assign.policies import POLICIES
from tritium.assign.reasons import why_not
from tritium.assign.types import Assigned, Decision, Placement, Request, Snapshot, Unassignable, Waiting
from tritium.assign.waits import waits_for

__all__ = ["assign"]


def assign(snapshot: Snapshot | Index, request: Request, policy: str = "packed") -> Decision:
    """Choose a host, a pool and devices for every member of a request, or say what stands in the way.

    The answer depends on nothing but the arguments, so that every task of a gang computes the same
    one; the order of hosts, pools and devices in the snapshot never matters.

    Raises:
        KeyError: if there is no such policy in ``POLICIES``.
    """
    index = snapshot if isinstance(snapshot, Index) else Index.of(snapshot)
    rules = POLICIES[policy]
    # 1. With all wishes as if they were required, then with one less after the other.
    for kept in range(len(request.prefer), -1, -1):
        members = place(index, replace(request, prefer=request.prefer[:kept]), rules)
        if members is not None:
            return Assigned(placement=Placement(members=members), given_up=request.prefer[kept:])
    # 2. Refused: what must be given back for it to fit, or will it never?
    required = replace(request, prefer=())
    reasons = why_not(index, required, rules)
    waits = waits_for(index, required, rules)
    return Unassignable(reasons=reasons) if waits is None else Waiting(reasons=reasons, waits_for=waits)
