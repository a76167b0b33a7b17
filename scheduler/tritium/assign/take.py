"""Decides what a placement changes: the snapshot after devices are taken, and after they are given back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tritium.assign.index import Index
from tritium.assign.shares import left_of
from tritium.assign.types import Host, Member, Pool, Request, Share
from tritium_discovery.device import HostId, Uuid

__all__ = ["Overcommitted", "give_back", "take"]


class Overcommitted(Exception):
    """A device was to be taken that is not free for it: a bug, or two deciders at work."""

    def __init__(self, device: Uuid, owner: str) -> None:
        self.device = device
        self.owner = owner
        super().__init__(f"{device} is not free for {owner}")


def take(index: Index, owner: str, request: Request, members: Iterable[Member]) -> Index:
    """Return the index after an owner took what it was given.

    Owners that can drain take shares, of all of its memory if they take a device whole; others hold.

    Raises:
        Overcommitted: if a device is not there, is held, or has less left than was promised.
    """
    by_host: dict[HostId, list[Member]] = {}
    for member in members:
        by_host.setdefault(member.host, []).append(member)
    hosts = {host.id: host for host in index.snapshot.hosts if host.id in by_host}
    for host_id, mine in by_host.items():
        for member in mine:
            for uuid in member.devices:
                hosts[host_id] = _taken(hosts[host_id], member.pool, uuid, owner, request)
    return index.changed(hosts.values())


def _taken(host: Host, pool: str, uuid: Uuid, owner: str, request: Request) -> Host:
    device = next((d for p in host.pools if p.name == pool for d in p.devices if d.uuid == uuid), None)
    shares = [share for p in host.pools for share in p.shares if share.device == uuid]
    held = any(uuid in p.held for p in host.pools)
    if device is None or held or (shares and not request.share_mib):
        raise Overcommitted(uuid, owner)
    if left_of(device, shares) < request.share_mib:
        raise Overcommitted(uuid, owner)
    if request.share_mib == 0 and request.drain_s is None:
        return _with_pool(host, pool, held={uuid: owner})
    share = Share(
        device=uuid,
        owner=owner,
        mib=request.share_mib or device.memory_mib,
        priority=request.priority,
        drain_s=request.drain_s,
    )
    return _with_pool(host, pool, shares=(share,))


def _with_pool(
    host: Host, name: str, *, held: dict[Uuid, str] | None = None, shares: tuple[Share, ...] = ()
) -> Host:
    pools = tuple(
        replace(pool, held={**pool.held, **(held or {})}, shares=(*pool.shares, *shares))
        if pool.name == name
        else pool
        for pool in host.pools
    )
    return replace(host, pools=pools)


def give_back(index: Index, owner: str) -> Index:
    """Return the index after all that an owner took is free again."""
    return index.changed(
        replace(host, pools=tuple(_without(pool, owner) for pool in host.pools))
        for host in index.snapshot.hosts
        if any(
            owner in pool.held.values() or any(s.owner == owner for s in pool.shares) for pool in host.pools
        )
    )


def _without(pool: Pool, owner: str) -> Pool:
    return replace(
        pool,
        held={uuid: holder for uuid, holder in pool.held.items() if holder != owner},
        shares=tuple(share for share in pool.shares if share.owner != owner),
    )
