"""Decides what a request that does not fit now waits for."""

from __future__ import annotations

from dataclasses import replace

from tritium.assign.types import Snapshot, Wait

__all__ = ["idle", "waits_for"]


def idle(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot as it would be with nothing in use."""
    return Snapshot(
        hosts=tuple(
            replace(host, pools=tuple(replace(pool, held={}, shares=()) for pool in host.pools))
            for host in snapshot.hosts
        )
    )


def waits_for(snapshot: Snapshot) -> tuple[Wait, ...]:
    """Return every device in use and by whom."""
    return tuple(
        Wait(host=host.id, device=uuid, holder=holder)
        for host in sorted(snapshot.hosts, key=lambda host: host.id)
        for uuid, holder in sorted(item for pool in host.pools for item in pool.held.items())
    )
