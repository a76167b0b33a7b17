"""Decides what a request that does not fit now waits for, and which shares are asked to drain."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from tritium.assign.index import Entry, Index
from tritium.assign.place import fits, place
from tritium.assign.policies import POLICIES, Policy
from tritium.assign.types import Drain, Host, Placement, Request, Share, Snapshot, Wait
from tritium_discovery.device import Device, HostId, Uuid

__all__ = ["drain_for", "waits_for"]

_MINIMAL = 32
"""Up to so many holders none is named needlessly; a longer list is right too, only not always shortest."""


class _Holding(NamedTuple):
    """One device, or share of one, in somebody's hands."""

    host: HostId
    device: Uuid
    holder: str
    share: Share | None


def waits_for(index: Index, request: Request, policy: Policy) -> tuple[Wait, ...] | None:
    """Return what must be given back for a request to fit, ``None`` if it does not fit even then."""
    everybody = _by_closeness(index)
    holdings = _fewest(_Later(index, request, everybody), request, policy, everybody)
    if holdings is None:
        return None
    return tuple(Wait(host=held.host, device=held.device, holder=held.holder) for held in holdings)


def drain_for(snapshot: Snapshot | Index, request: Request, policy: str = "packed") -> Drain | None:
    """Return the shares to ask to drain so that a request fits; ``None`` if asking would not help.

    Only shares that can drain, of a lower priority or that nobody uses, are asked, the least important
    first, and none without need. The holds carry it out: they ask, wait until the deadline, and take the
    device.
    """
    index = snapshot if isinstance(snapshot, Index) else Index.of(snapshot)
    everybody = _by_closeness(index)
    able = [
        (held.share.priority is not None, held.share.priority or 0, number, held)
        for number, held in enumerate(everybody)
        if held.share is not None
        and held.share.drain_s is not None
        and (held.share.priority is None or held.share.priority < request.priority)
    ]
    later = _Later(index, request, everybody)
    holdings = _fewest(later, request, POLICIES[policy], [held for *_, held in sorted(able)])
    if not holdings:
        return None
    ranks = place(later.without(holdings), request, POLICIES[policy])
    asked = tuple(held.share for held in holdings if held.share is not None)
    within_s = max(share.drain_s or 0.0 for share in asked)
    return (
        None if ranks is None else Drain(shares=asked, within_s=within_s, placement=Placement(members=ranks))
    )


def _by_closeness(index: Index) -> list[_Holding]:
    """Return all holdings, those on the hosts with most free devices first."""
    free = {entry.id: entry.bucket[1].bit_count() for entry in index.entries}
    holdings = {
        _Holding(host.id, device, holder, share)
        for host in index.snapshot.hosts
        for pool in host.pools
        for device, holder, share in (
            *((uuid, holder, None) for uuid, holder in pool.held.items()),
            *((share.device, share.owner, share) for share in pool.shares),
        )
    }
    return sorted(
        holdings,
        key=lambda held: (-free[held.host], *held[:3], held.share is not None and held.share.mib),
    )


def _fewest(
    later: _Later, request: Request, policy: Policy, holdings: Sequence[_Holding]
) -> list[_Holding] | None:
    """Return the first holdings with which given back a request fits, less those not needed for it."""

    def enough(given_back: Iterable[_Holding]) -> bool:
        return fits(later.without(given_back), request, policy)

    if not enough(holdings):
        return None
    least = later.at_least(request)
    count = _first(lambda count: enough(holdings[:count]), least, len(holdings))
    needed = list(holdings[:count])
    if len(needed) > _MINIMAL:
        return needed
    for held in reversed(needed):
        others = [other for other in needed if other is not held]
        if enough(others):
            needed = others
    return needed


def _first(enough: Callable[[int], bool], least: int, most: int) -> int:
    """Return the first number from ``least`` on that is enough, as ``most`` is; the small are tried first."""
    low = high = least
    while not enough(high):
        low = high + 1
        high = min(most, 2 * low)
    return bisect_left(range(high), True, lo=low, key=enough)


class _Later:
    """The cluster as it will be when holdings are given back, as a request sees it."""

    def __init__(self, index: Index, request: Request, everybody: Iterable[_Holding]) -> None:
        self._index = index
        self._whole = request.share_mib == 0 and not any(entry.shared for entry in index.entries)
        self._holders = Counter((held.host, held.device) for held in everybody)
        self._position = {entry.id: position for position, entry in enumerate(index.entries)}

    def without(self, given_back: Iterable[_Holding]) -> Index:
        """Return the index without some holdings.

        To whole devices of pools that share none it only matters which are free then. Else it matters how
        much memory is, or which pool a device is dealt to, and the hosts are looked at anew.
        """
        if self._whole:
            return self._index.freed(self._freed(given_back))
        by_host: dict[HostId, list[_Holding]] = {}
        for held in given_back:
            by_host.setdefault(held.host, []).append(held)
        hosts = self._index.snapshot.hosts
        return self._index.changed([_idler(host, by_host[host.id]) for host in hosts if host.id in by_host])

    def at_least(self, request: Request) -> int:
        """Return how many holdings must be given back in any case: each frees one device at most."""
        if request.share_mib:
            return 0
        free = sum(entry.bucket[1].bit_count() for entry in self._index.entries)
        return max(0, request.members * request.devices_each - free)

    def _freed(self, given_back: Iterable[_Holding]) -> dict[int, int]:
        """Return the devices that nobody has then, as bit masks by the position of the host."""
        masks: dict[int, int] = {}
        back = Counter((held.host, held.device) for held in given_back)
        for (host, device), count in back.items():
            if count == self._holders[host, device]:
                position = self._position[host]
                masks[position] = masks.get(position, 0) | _bit(self._index.entries[position], device)
        return masks


def _bit(entry: Entry, uuid: Uuid) -> int:
    """Return a device's bit in its host's masks; 0 if it is ill, or not one of those that are handed out."""
    if uuid not in entry.uuids:
        return 0
    at = entry.uuids.index(uuid)
    return entry.devices[at].healthy << at


def _idler(host: Host, given_back: list[_Holding]) -> Host:
    """Return a host without some holdings; what they used is free then."""
    whole = {(held.device, held.holder) for held in given_back if held.share is None}
    idle = {uuid for uuid, _ in whole}
    shares = [held.share for held in given_back if held.share is not None]
    pools = []
    for pool in host.pools:
        left = tuple(share for share in pool.shares if share not in shares)
        held = {uuid: holder for uuid, holder in pool.held.items() if (uuid, holder) not in whole}
        devices = tuple(
            replace(device, free_mib=_free_mib(device, idle, [s for s in shares if s.device == device.uuid]))
            for device in pool.devices
        )
        pools.append(replace(pool, devices=devices, held=held, shares=left))
    return replace(host, pools=tuple(pools))


def _free_mib(device: Device, whole: set[Uuid], shares: list[Share]) -> int:
    if device.uuid in whole:
        return device.memory_mib
    return min(device.memory_mib, device.free_mib + sum(share.used_mib for share in shares))
