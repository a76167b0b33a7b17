"""Decides what a link is worth: the time a gigabyte takes over it, and which devices a fast net joins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tritium_discovery.device import Device, Link, LinkKind, Uuid

__all__ = ["Costs", "Neighbours", "cost_us", "costs_of", "neighbours", "nets"]

Costs = tuple[tuple[int, ...], ...]
"""Between each pair of devices: microseconds per gigabyte; 0 on the diagonal."""

Neighbours = tuple[int, ...]
"""By device: those that links of some kind or a better one join it to, itself too, as a bit mask."""

_US_PER_GB: Mapping[LinkKind, int] = {
    LinkKind.SYS: 125_000,
    LinkKind.NODE: 100_000,
    LinkKind.PHB: 80_000,
    LinkKind.PXB: 62_500,
    LinkKind.PIX: 50_000,
    LinkKind.SAME: 45_000,
    LinkKind.NVLINK: 40_000,
}
"""PCIe 4.0 by the number of hops, and 25 GB/s for one NVLink: only the proportions matter."""

_OTHER_NODE_US = 1
"""So that equal links prefer devices of one NUMA node, and never outweigh a real difference."""


def cost_us(link: Link | None) -> int:
    """Return the microseconds that a gigabyte takes over a link.

    Times are added, not bandwidths: one slow link in a ring slows all of it, and no fast one makes up for it.

    >>> cost_us(Link(kind=LinkKind.NVLINK, lanes=4)), cost_us(Link(kind=LinkKind.PIX)), cost_us(None)
    (10000, 50000, 125000)
    """
    if link is None:
        return _US_PER_GB[LinkKind.SYS]
    return _US_PER_GB[link.kind] // max(1, link.lanes)


def costs_of(devices: Sequence[Device], links: Mapping[tuple[Uuid, Uuid], Link]) -> Costs:
    """Return what each pair of the devices costs."""
    rows = [[0] * len(devices) for _ in devices]
    for i, one in enumerate(devices):
        for j in range(i):
            two = devices[j]
            link = links.get((one.uuid, two.uuid) if one.uuid < two.uuid else (two.uuid, one.uuid))
            rows[i][j] = rows[j][i] = cost_us(link) + _OTHER_NODE_US * (one.numa_node != two.numa_node)
    return tuple(tuple(row) for row in rows)


def neighbours(costs: Costs, kind: LinkKind) -> Neighbours:
    """Return which devices links of at least this kind join.

    >>> neighbours(((0, 9, 50_000), (9, 0, 50_000), (50_000, 50_000, 0)), LinkKind.NVLINK)
    (3, 3, 4)
    """
    limit = _US_PER_GB[kind] + _OTHER_NODE_US
    return tuple(sum(1 << other for other, cost in enumerate(row) if cost <= limit) for row in costs)


def nets(joined: Neighbours, usable: int) -> tuple[int, ...]:
    """Return the nets into which some devices fall, as bit masks, that of the first device first.

    >>> nets((3, 3, 4), 0b111), nets((3, 7, 6), 0b111), nets((3, 7, 6), 0b101)
    ((3, 4), (7,), (1, 4))
    """
    found: list[int] = []
    while usable:
        net = ahead = usable & -usable
        while ahead and net != usable:
            device = ahead.bit_length() - 1
            new = joined[device] & usable & ~net
            net, ahead = net | new, (ahead | new) ^ 1 << device
        found.append(net)
        usable &= ~net
    return tuple(found)
