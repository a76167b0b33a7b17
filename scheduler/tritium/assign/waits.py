"""Decides what a request that does not fit now waits for, and which shares are asked to drain."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from tritium.assign.index import Index
from tritium.assign.place import place
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
    holdings = _fewest(index, request, policy, _by_closeness(index))
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
    able = [
        (held.share.priority is not None, held.share.priority or 0, number, held)
        for number, held in enumerate(_by_closeness(index))
        if held.share is not None
        and held.share.drain_s is not None
        and (held.share.priority is None or held.share.priority < request.priority)
    ]
    holdings = _fewest(index, request, POLICIES[policy], [held for *_, held in sorted(able)])
    if not holdings:
        return None
    ranks = place(_given_back(index, holdings), request, POLICIES[policy])
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
    index: Index, request: Request, policy: Policy, holdings: Sequence[_Holding]
) -> list[_Holding] | None:
    """Return the first holdings with which given back a request fits, less those not needed for it."""

    def fits(given_back: Iterable[_Holding]) -> bool:
        return place(_given_back(index, given_back), request, policy) is not None

    if not fits(holdings):
        return None
    enough = bisect_left(range(len(holdings)), True, key=lambda count: fits(holdings[:count]))
    needed = list(holdings[:enough])
    if len(needed) > _MINIMAL:
        return needed
    for held in reversed(needed):
        without = [other for other in needed if other is not held]
        if fits(without):
            needed = without
    return needed


def _given_back(index: Index, holdings: Iterable[_Holding]) -> Index:
    """Return the index as it will be when some holdings are given back."""
    by_host: dict[HostId, list[_Holding]] = {}
    for held in holdings:
        by_host.setdefault(held.host, []).append(held)
    return index.changed(
        [_idler(host, by_host[host.id]) for host in index.snapshot.hosts if host.id in by_host]
    )


def _idler(host: Host, given_back: list[_Holding]) -> Host:
    """Return a host without some holdings; what they used is free then."""
    whole = {held.device for held in given_back if held.share is None}
    shares = [held.share for held in given_back if held.share is not None]
    pools = []
    for pool in host.pools:
        left = tuple(share for share in pool.shares if share not in shares)
        held = {uuid: holder for uuid, holder in pool.held.items() if uuid not in whole}
        devices = tuple(
            replace(device, free_mib=_free_mib(device, whole, [s for s in shares if s.device == device.uuid]))
            for device in pool.devices
        )
        pools.append(replace(pool, devices=devices, held=held, shares=left))
    return replace(host, pools=tuple(pools))


def _free_mib(device: Device, whole: set[Uuid], shares: list[Share]) -> int:
    if device.uuid in whole:
        return device.memory_mib
    return min(device.memory_mib, device.free_mib + sum(share.used_mib for share in shares))
