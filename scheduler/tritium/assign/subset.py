"""Decides which devices of a host are best together: the exact best set, by the links between them.

The best set costs least over all of its pairs; of equal sets the one that leaves the best set
behind (against fragmentation); of equal ones still the one with the lowest positions.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tritium.assign.links import Costs

__all__ = ["EXACT", "Quota", "best_set", "grown_set"]

EXACT = 16
"""Up to so many devices every set is looked at (65,536 of them); above it, sets are grown."""


class Quota(NamedTuple):
    """How many devices a set may take of a part of the host."""

    part: int
    """The part, as a bit mask over the devices."""
    step: int
    """A multiple of so many, because members are whole."""
    exactly: int | None = None
    """So many and no others, where Spark has already chosen."""


def best_set(costs: Costs, size: int, quotas: tuple[Quota, ...] = ()) -> int | None:
    """Return the best set of ``size`` devices as a bit mask, ``None`` if no set keeps the quotas.

    >>> pairs = ((0, 9, 50, 50), (9, 0, 50, 50), (50, 50, 0, 9), (50, 50, 9, 0))
    >>> bin(best_set(pairs, 2)), bin(best_set(pairs, 2, (Quota(part=0b0101, step=1, exactly=0),)))
    ('0b11', '0b1010')
    """
    counts = _counts(len(costs))
    valid = counts == size
    for quota in quotas:
        taken = counts[np.arange(len(counts)) & quota.part]
        valid &= taken % quota.step == 0 if quota.exactly is None else taken == quota.exactly
    sets = np.flatnonzero(valid)
    if not len(sets):
        return None
    price = _prices(costs)
    return int(sets[np.argmin((price[sets] << 32) + price[sets ^ (len(counts) - 1)])])


@lru_cache(maxsize=EXACT + 1)
def _counts(devices: int) -> npt.NDArray[np.int64]:
    """Return how many devices each set has, by doubling: with a device they have one more."""
    counts = np.zeros(1, np.int64)
    for _ in range(devices):
        counts = np.concatenate((counts, counts + 1))
    return counts


def _prices(costs: Costs) -> npt.NDArray[np.int64]:
    """Return what each set's pairs cost, by doubling: a device adds its links to the set it joins."""
    price = np.zeros(1, np.int64)
    for row in costs:
        joining = np.zeros(1, np.int64)
        while len(joining) < len(price):
            joining = np.concatenate((joining, joining + row[len(joining).bit_length() - 1]))
        price = np.concatenate((price, price + joining))
    return price


def grown_set(costs: Costs, devices: tuple[int, ...], size: int) -> tuple[int, ...]:
    """Return a good set of the devices where there are too many to look at all sets.

    From each device on, the one that costs least to all taken so far is added; the cheapest set wins.

    >>> grown_set(((0, 9, 50), (9, 0, 50), (50, 50, 0)), (0, 1, 2), 2)
    (0, 1)
    """
    if size == 0:
        return ()
    grown = []
    for first in devices:
        taken, price = [first], 0
        joining = {device: costs[first][device] for device in devices if device != first}
        while len(taken) < size:
            cost, device = min((cost, device) for device, cost in joining.items())
            price += cost
            taken.append(device)
            joining = {
                other: total + costs[device][other] for other, total in joining.items() if other != device
            }
        grown.append((price, tuple(sorted(taken))))
    return min(grown)[1]
