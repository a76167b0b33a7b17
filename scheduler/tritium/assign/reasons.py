"""Decides how a refusal is explained: per rule and host, with numbers, what came closest first."""

from __future__ import annotations

from collections.abc import Iterator

from tritium.assign.index import Entry, Index
from tritium.assign.layout import Shape
from tritium.assign.policies import Policy
from tritium.assign.rooms import Spot, keep_apart, spots_for
from tritium.assign.rules import Lack, lack
from tritium.assign.shares import left_of
from tritium.assign.types import Reason, Request
from tritium_discovery.device import Device, Uuid

__all__ = ["why_not"]

_NAMED = 3
"""Devices named in one sentence; the others are counted."""


def why_not(index: Index, request: Request, policy: Policy) -> tuple[Reason, ...]:
    """Return everything that stands in a request's way, ordered by how close it came."""
    reasons = list(_room_reasons(index, request, policy))
    for (shape, _), entries in index.buckets.items():
        for entry in entries:
            reasons += _device_reasons(shape, entry, request)
    return tuple(
        sorted(reasons, key=lambda reason: (reason.short, reason.where, reason.rule, reason.sentence))
    )


def _device_reasons(shape: Shape, entry: Entry, request: Request) -> Iterator[Reason]:
    """Yield one reason per pool and rule, and per text of it: devices with the same lack share a sentence."""
    if request.devices_each == 0:
        return
    lacking: dict[tuple[str, Lack], list[Uuid]] = {}
    for position, device in enumerate(entry.devices):
        why = lack(shape.kinds[position], request) or _not_now(entry, device, request)
        if why is not None:
            pool = next(
                p.name for p, part in zip(entry.pools, shape.pools, strict=True) if part >> position & 1
            )
            lacking.setdefault((pool, why), []).append(device.uuid)
    for (pool, why), devices in lacking.items():
        named = ", ".join(devices[:_NAMED])
        more = f" and {len(devices) - _NAMED} more" if len(devices) > _NAMED else ""
        yield Reason(
            rule=why.rule,
            where=f"{entry.id} {pool}".strip(),
            sentence=f"{named}{more}: {why.sentence}",
            short=why.short,
        )


def _not_now(entry: Entry, device: Device, request: Request) -> Lack | None:
    """Return what is against a device of the right kind: its health, or somebody who has it."""
    if not device.healthy:
        return Lack("health", 1.0, "; ".join(device.troubles))
    whole = [pool.held[device.uuid] for pool in entry.pools if device.uuid in pool.held]
    shares = [share for pool in entry.pools for share in pool.shares if share.device == device.uuid]
    holders = sorted({*whole, *(f"{share.owner} ({share.mib} MiB)" for share in shares)})
    left_mib = left_of(device, shares)
    if whole or (shares and not request.share_mib):
        return Lack("held", 0.0, f"held by {', '.join(holders)}")
    if left_mib < request.share_mib:
        by = f" besides {', '.join(holders)}" if holders else ""
        return Lack("share", 0.0, f"{left_mib} MiB left{by}, {request.share_mib} needed")
    return None


def _room_reasons(index: Index, request: Request, policy: Policy) -> Iterator[Reason]:
    """Yield where Spark's seats lack devices, and what the whole request lacks."""
    spots = spots_for(index, request)
    yield from (_seats_short(spot, request) for spot in spots if not spot.seats_fit)
    room = {spot.entry.id: spot.seated for spot in spots if spot.seated}
    seated = sum(room.values())
    if request.members < seated:
        sentence = f"{request.members} members asked, but Spark started {seated} tasks for them"
        yield Reason(rule="seats", where="", sentence=sentence)
    for one in keep_apart([spot.room for spot in spots], request.apart, policy):
        room[one.host] = room.get(one.host, 0) + one.units * request.group
    short = request.members - sum(room.values())
    if short > 0:
        most = sorted(room, key=lambda host: (-room[host], host))
        named = ", ".join(f"{host} {room[host]}" for host in most[:_NAMED]) or "no host"
        more = f" and {len(most) - _NAMED} hosts more" if len(most) > _NAMED else ""
        sentence = f"{_asked(request)}, room for {sum(room.values())} ({named}{more})"
        yield Reason(rule="count", where="", sentence=sentence, short=short / request.members)
    elif request.apart is not None:
        sentence = f"Spark's tasks put two groups on one {request.apart}"
        yield Reason(rule="apart", where="", sentence=sentence)


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
    what = f"a share of {request.share_mib} MiB" if request.share_mib else f"{request.devices_each} devices"
    text = f"{request.members} members of {what} each"
    if request.group > 1 or request.near != "host":
        text += f" in groups of {request.group} on one {request.near}"
    if request.apart is not None:
        text += f", no two groups on one {request.apart}"
    return text
