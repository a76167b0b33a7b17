"""Decides how a refusal is explained: per rule and host, with numbers, what came closest first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tritium.assign.index import Entry, Index
from tritium.assign.layout import Shape
from tritium.assign.policies import Policy
from tritium.assign.rooms import Spot, keep_apart, spots_for
from tritium.assign.rules import Lack, lack
from tritium.assign.types import Pool, Reason, Request
from tritium_discovery.device import Device, HostId, Uuid

__all__ = ["why_not"]

_NAMED = 3
"""Devices named in one sentence; the others are counted."""


def why_not(index: Index, request: Request, policy: Policy) -> tuple[Reason, ...]:
    """Return everything that stands in a request's way, ordered by how close it came."""
    holders = {
        (host.id, uuid): holder
        for host in index.snapshot.hosts
        for pool in host.pools
        for uuid, holder in _holders(pool)
    }
    reasons = [
        reason
        for (shape, _), entries in index.buckets.items()
        for entry in entries
        for reason in _device_reasons(shape, entry, request, holders)
    ]
    reasons += _room_reasons(index, request, policy)
    return tuple(
        sorted(reasons, key=lambda reason: (reason.short, reason.where, reason.rule, reason.sentence))
    )


def _holders(pool: Pool) -> Iterator[tuple[Uuid, str]]:
    yield from ((share.device, f"{share.owner}, {share.mib} MiB") for share in pool.shares)
    yield from pool.held.items()


def _device_reasons(
    shape: Shape, entry: Entry, request: Request, holders: Mapping[tuple[HostId, Uuid], str]
) -> Iterator[Reason]:
    """Yield one reason per pool and rule, and per text of it: devices with the same lack share a sentence."""
    if request.devices_each == 0:
        return
    lacking: dict[tuple[str, Lack], list[Device]] = {}
    for position, device in enumerate(entry.devices):
        why = _why_not_device(shape, position, device, request, holders.get((entry.id, device.uuid)))
        if why is not None:
            pool = next(
                name for name, mask in zip(entry.pools, shape.pools, strict=True) if mask >> position & 1
            )
            lacking.setdefault((pool, why), []).append(device)
    for (pool, why), devices in lacking.items():
        named = ", ".join(device.uuid for device in devices[:_NAMED])
        more = f" and {len(devices) - _NAMED} more" if len(devices) > _NAMED else ""
        yield Reason(
            rule=why.rule,
            where=f"{entry.id} {pool}".strip(),
            sentence=f"{named}{more}: {why.sentence}",
            short=why.short,
        )


def _why_not_device(
    shape: Shape, position: int, device: Device, request: Request, holder: str | None
) -> Lack | None:
    """Return the first rule against a device: what can never change before what passes with time."""
    wrong = lack(shape.kinds[position], request)
    if wrong is not None:
        return wrong
    if not device.healthy:
        return Lack("health", 1.0, "; ".join(device.troubles))
    if holder is not None:
        return Lack("held", 0.0, f"held by {holder}")
    return None


def _room_reasons(index: Index, request: Request, policy: Policy) -> Iterator[Reason]:
    """Yield where Spark's seats lack devices, and what the whole request lacks."""
    spots = spots_for(index, request)
    yield from (_seats_short(spot, request) for spot in spots if not spot.seats_fit)
    seated = sum(spot.seated for spot in spots)
    rooms = keep_apart([spot.room for spot in spots], request.apart, policy)
    room = seated + sum(room.units for room in rooms) * request.group
    if request.members < seated:
        sentence = f"{request.members} members asked, but Spark started {seated} tasks for them"
        yield Reason(rule="seats", where="", sentence=sentence, short=1.0)
    if request.members > room:
        most = sorted(spots, key=lambda spot: (-spot.seated - spot.room.units, spot.entry.id))[:_NAMED]
        named = ", ".join(f"{spot.entry.id} {spot.seated + spot.room.units * request.group}" for spot in most)
        more = f" and {len(spots) - _NAMED} hosts more" if len(spots) > _NAMED else ""
        sentence = f"{_asked(request)}, room for {room} ({named or 'no host'}{more})"
        short = (request.members - room) / request.members
        yield Reason(rule="count", where="", sentence=sentence, short=short)


def _seats_short(spot: Spot, request: Request) -> Reason:
    usable = spot.usable.bit_count()
    return Reason(
        rule="seats",
        where=spot.entry.id,
        sentence=f"Spark started {spot.seated} tasks here: {_asked(request)}, {usable} usable devices",
        short=max(0.0, 1 - usable / (spot.seated * max(1, request.devices_each))),
    )


def _asked(request: Request) -> str:
    """Say what a request asks for.

    >>> _asked(Request(members=8, devices_each=2, group=4, near="nvlink", apart="host"))
    '8 members of 2 devices each in groups of 4 on one nvlink, no two groups on one host'
    """
    text = f"{request.members} members of {request.devices_each} devices each"
    if request.group > 1 or request.near != "host":
        text += f" in groups of {request.group} on one {request.near}"
    if request.apart is not None:
        text += f", no two groups on one {request.apart}"
    return text
