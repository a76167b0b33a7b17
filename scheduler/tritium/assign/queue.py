"""Decides for several requests at once: by priority, the largest first, and a few orders more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tritium.assign.decide import assign
from tritium.assign.index import Index
from tritium.assign.take import take
from tritium.assign.types import Assigned, Decision, Request, Snapshot

__all__ = ["ORDERS", "assign_all"]

ORDERS = 8
"""Orders tried at most: many sizes are bin packing, and the answer is feasible, not always best."""


def assign_all(
    snapshot: Snapshot | Index, requests: Mapping[str, Request], policy: str = "packed"
) -> dict[str, Decision]:
    """Place requests beside each other; nobody gets what a higher priority needs.

    A request that is refused goes to the front of its priority and all are placed anew, for as long
    as that places more of the higher priorities, or as many and more of the lower.
    """
    index = snapshot if isinstance(snapshot, Index) else Index.of(snapshot)
    front: tuple[str, ...] = ()
    best = _in_order(index, requests, _order(requests, front), policy)
    for _ in range(1, ORDERS):
        refused = [name for name in _order(requests, front) if not isinstance(best[name], Assigned)]
        front = tuple(dict.fromkeys((*refused, *front)))
        tried = _in_order(index, requests, _order(requests, front), policy)
        if _placed(requests, tried) <= _placed(requests, best):
            break
        best = tried
    return best


def _order(requests: Mapping[str, Request], front: Sequence[str]) -> list[str]:
    """Order by priority; of one priority those in front first, then the largest."""
    ahead = {name: position for position, name in enumerate(front)}
    return sorted(
        requests,
        key=lambda name: (
            -requests[name].priority,
            ahead.get(name, len(front)),
            *_size(requests[name]),
            name,
        ),
    )


def _in_order(
    index: Index, requests: Mapping[str, Request], order: Sequence[str], policy: str
) -> dict[str, Decision]:
    decisions: dict[str, Decision] = {}
    for name in order:
        decision = assign(index, requests[name], policy)
        decisions[name] = decision
        if isinstance(decision, Assigned):
            index = take(index, name, requests[name], decision.placement.members)
    return decisions


def _placed(requests: Mapping[str, Request], decisions: Mapping[str, Decision]) -> list[int]:
    """Count the requests that were placed, of each priority, the highest first."""
    priorities = sorted({request.priority for request in requests.values()}, reverse=True)
    placed = [
        requests[name].priority for name, decision in decisions.items() if isinstance(decision, Assigned)
    ]
    return [placed.count(priority) for priority in priorities]


def _size(request: Request) -> tuple[int, int]:
    """Order requests by devices, then by memory of shares, the largest first."""
    whole = 0 if request.share_mib else request.devices_each
    return (-request.members * whole, -request.members * request.share_mib)
