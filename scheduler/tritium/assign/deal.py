"""Decides which pool gets a device that several list: executors without isolation all list the same ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from tritium.assign.rules import Kind, lack
from tritium.assign.types import Pool, Request
from tritium_discovery.device import Device, Uuid

__all__ = ["deal", "in_use", "kind_of"]


def deal(pools: Sequence[Pool], request: Request | None = None) -> list[list[Device]]:
    """Give each device to one pool, as a request needs them if one is asked.

    Devices that the same pools list are cut into runs of neighbours, those of use to the request apart from
    the others. First each pool gets what the tasks that Spark has started in it need, then what is left is
    dealt evenly. So whenever there are enough devices for all tasks, each pool has enough for its own.
    """
    each = max(1, request.devices_each) if request is not None else 1
    needs = [(pool.seats or 0) * each for pool in pools]
    dealt: list[list[Device]] = [[] for _ in pools]
    # What a pool lists alone is its own, and leaves it less to need.
    for (listers, useful), heap in sorted(_heaps(pools, request).items(), key=lambda heap: len(heap[0][0])):
        wanted = [needs[number] if useful else 0 for number in listers]
        parts = _parts(len(heap), wanted, [_weight(pools[number]) for number in listers], each)
        rest = iter(sorted(heap, key=_by_bus))
        for number, count in zip(listers, parts, strict=True):
            dealt[number] += [next(rest) for _ in range(count)]
            needs[number] -= min(needs[number], count) if useful else 0
    return [sorted(mine, key=_by_bus) for mine in dealt]


def _heaps(
    pools: Sequence[Pool], request: Request | None
) -> dict[tuple[tuple[int, ...], bool], list[Device]]:
    """Put devices together that the same pools list and that are of use, or are not."""
    listed: dict[Uuid, tuple[Device, set[int]]] = {}
    for number, pool in enumerate(pools):
        for device in pool.devices:
            listed.setdefault(device.uuid, (device, set()))[1].add(number)
    taken = in_use(pools)
    heaps: dict[tuple[tuple[int, ...], bool], list[Device]] = {}
    for device, listers in listed.values():
        suits = request is None or lack(kind_of(device), request) is None
        useful = device.healthy and device.uuid not in taken and suits
        heaps.setdefault((tuple(sorted(listers)), useful), []).append(device)
    return heaps


def _weight(pool: Pool) -> int:
    """What a pool gets of devices that nobody needs: as many as it has tasks, or any one."""
    return 1 if pool.seats is None else pool.seats


def _parts(count: int, wanted: Sequence[int], weights: Sequence[int], each: int) -> list[int]:
    """Cut so many devices into a part per pool: what it wants, and a share of the rest in whole members.

    >>> _parts(8, [0, 0], [1, 1], 1), _parts(6, [0, 0], [1, 1], 2), _parts(8, [1, 3], [1, 3], 1)
    ([4, 4], [2, 4], [2, 6])
    """
    if sum(wanted) > count:
        wanted = [0] * len(wanted)  # the request does not fit, whoever gets them
    if not any(weights):
        weights = [1, *(0 for _ in weights[1:])]
    left, total = count - sum(wanted), sum(weights)
    ends = [left // each * reached // total * each for reached in accumulate(weights)]
    ends[-1] = left
    return [want + end - start for want, start, end in zip(wanted, [0, *ends], ends, strict=False)]


def in_use(pools: Iterable[Pool]) -> set[Uuid]:
    """Return the devices of a host that nobody may get whole: any pool's word is enough."""
    return {uuid for pool in pools for uuid in (*pool.held, *(share.device for share in pool.shares))}


def kind_of(device: Device) -> Kind:
    """Return what requests may ask of a device."""
    return Kind(device.product, device.memory_mib, device.capability, device.mig_profile)


def _by_bus(device: Device) -> tuple[str, int, Uuid]:
    return (device.pci_bus_id, device.address, device.uuid)
