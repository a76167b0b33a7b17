"""Decides the order of ranks inside a host: which devices belong to one member, and who is whose neighbour.

Collectives pass data around a ring of ranks, and its slowest link sets the pace: the best order is
the ring whose slowest link is fastest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from tritium.assign.links import Costs
from tritium.assign.subset import best_set

__all__ = ["arrange", "ring"]

_EXACT_CUT = 8
"""Up to so many devices every way to cut them into members is looked at (105 at most)."""

_STEPS = 20_000
"""Steps spent on a ring before a slower one is tried: more than all rings of 8 need."""

_Part = tuple[int, ...]


def arrange(costs: Costs, devices: _Part, sizes: Sequence[int]) -> _Part:
    """Order devices into a ring of parts of ``sizes[0]``, and inside each part likewise.

    >>> pairs = ((0, 50, 9, 50), (50, 0, 50, 9), (9, 50, 0, 50), (50, 9, 50, 0))
    >>> arrange(pairs, (0, 1, 2, 3), (2, 1))
    (0, 2, 1, 3)
    """
    if not sizes:
        return devices
    parts = _cut(costs, devices, sizes[0])
    between = tuple(tuple(min(costs[a][b] for a in one for b in two) for two in parts) for one in parts)
    ordered = (parts[position] for position in ring(between))
    return tuple(device for part in ordered for device in arrange(costs, part, sizes[1:]))


def ring(costs: Costs) -> _Part:
    """Return the order in which the slowest link of the ring is as fast as can be, from position 0 on.

    >>> ring(((0, 9, 50, 9), (9, 0, 9, 50), (50, 9, 0, 9), (9, 50, 9, 0)))
    (0, 1, 2, 3)
    """
    for limit in sorted({cost for row in costs for cost in row}):
        found = _ring_within(costs, limit)
        if found is not None:
            return found
    return tuple(range(len(costs)))


def _ring_within(costs: Costs, limit: int) -> _Part | None:
    """Return a ring whose links cost at most ``limit``: depth first, nearest neighbour first."""
    near = [sorted((cost, other) for other, cost in enumerate(row) if cost <= limit) for row in costs]
    steps = 0
    paths: list[_Part] = [(0,)]
    while paths and steps < _STEPS:
        path = paths.pop()
        steps += 1
        if len(path) == len(costs):
            if costs[path[-1]][0] <= limit:
                return path
            continue
        paths += [(*path, other) for _, other in reversed(near[path[-1]]) if other not in path]
    return None


def _cut(costs: Costs, devices: _Part, size: int) -> tuple[_Part, ...]:
    """Cut into parts that cost least inside: every way if there are few devices, else best part first."""
    if size == 1:
        return tuple((device,) for device in devices)
    if len(devices) <= _EXACT_CUT:
        return min(
            _cuts(devices, size), key=lambda parts: (sum(_price(costs, part) for part in parts), parts)
        )
    parts: list[_Part] = []
    while devices:
        best = best_set(_between(costs, devices), size) or 0
        parts.append(tuple(device for bit, device in enumerate(devices) if best >> bit & 1))
        devices = tuple(device for bit, device in enumerate(devices) if not best >> bit & 1)
    return tuple(sorted(parts))


def _cuts(devices: _Part, size: int) -> Iterator[tuple[_Part, ...]]:
    """Yield every way to cut: the first device with each choice of company, then the rest likewise."""
    if not devices:
        yield ()
        return
    first, others = devices[0], devices[1:]
    for company in combinations(others, size - 1):
        rest = tuple(device for device in others if device not in company)
        for parts in _cuts(rest, size):
            yield ((first, *company), *parts)


def _price(costs: Costs, part: _Part) -> int:
    return sum(costs[one][two] for one, two in combinations(part, 2))


def _between(costs: Costs, devices: _Part) -> Costs:
    return tuple(tuple(costs[one][two] for two in devices) for one in devices)
