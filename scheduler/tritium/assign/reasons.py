"""Decides how a refusal is explained: per rule and host, with numbers, what came closest first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tritium.assign.index import Entry, Index
from tritium.assign.policies import Policy
from tritium.assign.rooms import keep_apart, space_for
from tritium.assign.rules import Kind, Lack, lack
from tritium.assign.shares import left_of
from tritium.assign.types import Reason, Request
from tritium_discovery.device import Device, Uuid

__all__ = ["asked", "counted", "lacks", "why_not"]

_NAMED = 3
"""Devices named in one sentence; the others are counted."""

_OfKinds = Mapping[tuple[Kind, ...], tuple[Lack | None, ...]]
"""By the devices of a make of hosts: what each lacks, whoever has it."""


def why_not(index: Index, request: Request, policy: Policy) -> tuple[Reason, ...]:
    """Return everything that stands in a request's way, ordered by how close it came."""
    index = index.suited(request)
    reasons = list(_room_reasons(index, request, policy))
    of_kinds = _of_kinds(index, request)
    for entry in index.entries if request.devices_each else ():
        reasons += _device_reasons(entry, request, of_kinds)
    return tuple(
        sorted(reasons, key=lambda reason: (reason.short, reason.where, reason.rule, reason.sentence))
    )


def _device_reasons(entry: Entry, request: Request, of_kinds: _OfKinds) -> Iterator[Reason]:
    """Yield one reason per pool and rule, and per text of it: devices with the same lack share a sentence."""
    shape, _ = entry.bucket
    found = tuple(_lacks(entry, request, of_kinds))
    lacking: dict[tuple[str, Lack], list[Uuid]] = {}
    for pool, part in zip((pool.name for pool in entry.pools), shape.pools, strict=True):
        for position, why in found:
            if part >> position & 1:
                lacking.setdefault((pool, why), []).append(entry.uuids[position])
    for (pool, why), devices in lacking.items():
        named = ", ".join(devices[:_NAMED])
        more = f" and {len(devices) - _NAMED} more" if len(devices) > _NAMED else ""
        yield Reason(
            rule=why.rule,
            where=f"{entry.id} {pool}".strip(),
            sentence=f"{named}{more}: {why.sentence}",
            short=why.short,
        )


def lacks(index: Index, request: Request) -> dict[Uuid, str]:
    """Say of each device that will not do for a request, here and now, the first thing against it."""
    of_kinds = _of_kinds(index, request)
    return {
        entry.uuids[at]: why.sentence
        for entry in index.entries
        for at, why in _lacks(entry, request, of_kinds)
    }


def _lacks(entry: Entry, request: Request, of_kinds: _OfKinds) -> Iterator[tuple[int, Lack]]:
    """Yield the position of each device that will not do, and what it lacks."""
    shape, free = entry.bucket
    for position, lacking in enumerate(of_kinds[shape.kinds]):
        if lacking is not None:
            yield position, lacking
        elif request.share_mib or not free >> position & 1:
            not_now = _not_now(entry, entry.devices[position], request)
            if not_now is not None:
                yield position, not_now


def _of_kinds(index: Index, request: Request) -> _OfKinds:
    """Return what devices lack, whoever has them: it is the same on all hosts of a make."""
    makes = {shape.kinds for shape, _ in index.buckets}
    of_kind = {kind: lack(kind, request) for kind in set().union(*makes)}
    return {kinds: tuple(of_kind[kind] for kind in kinds) for kinds in makes}


def _not_now(entry: Entry, device: Device, request: Request) -> Lack | None:
    """Return what is against a device of the right kind: its health, or somebody who has it."""
    if not device.healthy:
        return Lack("health", 1.0, "; ".join(device.troubles))
    whole = [pool.held[device.uuid] for pool in entry.pools if device.uuid in pool.held]
    shares = [share for pool in entry.pools for share in pool.shares if share.device == device.uuid]
    parts = (
        share.owner if share.mib == device.memory_mib else f"{share.owner} ({share.mib} MiB)"
        for share in shares
    )
    holders = sorted({*whole, *parts})
    if whole or (shares and not request.share_mib):
        return Lack("held", 0.0, f"held by {', '.join(holders)}")
    left_mib = left_of(device, shares)
    if left_mib < request.share_mib:
        by = f" besides {', '.join(holders)}" if holders else ""
        return Lack("share", 0.0, f"{left_mib} MiB left{by}, {request.share_mib} needed")
    return None


def _room_reasons(index: Index, request: Request, policy: Policy) -> Iterator[Reason]:
    """Yield where Spark's seats lack devices, and what the whole request lacks."""
    space = space_for(index, request)
    for entry, bucket, seated, fit in zip(
        index.entries, index.bucket_of.tolist(), space.seated.tolist(), space.seats_fit.tolist(), strict=True
    ):
        if not fit:
            yield from _seats_short(entry, seated, space.usable[bucket], request)
    seated = int(space.seated.sum())
    if request.members < seated:
        sentence = f"{counted(request.members, 'member')} asked, but Spark started {seated} tasks for them"
        yield Reason(rule="seats", where="", sentence=sentence)
    units = keep_apart(space.rooms, request.apart, policy).units
    room = (space.seated + units * request.group).tolist()
    short = request.members - sum(room)
    if short > 0:
        sentence = f"{asked(request)}, room for {sum(room)} ({_most(index, room)})"
        yield Reason(rule="count", where="", sentence=sentence, short=short / request.members)
    elif request.apart is not None:
        sentence = f"Spark's tasks put two groups on one {request.apart}"
        yield Reason(rule="apart", where="", sentence=sentence)


def _most(index: Index, room: Sequence[int]) -> str:
    """Name the hosts with most room, and count the others."""
    hosts = sorted(zip(room, index.entries, strict=True), key=lambda host: -host[0])
    named = ", ".join(f"{entry.id} {count}" for count, entry in hosts[:_NAMED]) or "no host"
    return named + (f" and {len(hosts) - _NAMED} hosts more" if len(hosts) > _NAMED else "")


def _seats_short(entry: Entry, seated: int, usable: int, request: Request) -> Iterator[Reason]:
    """Yield each pool that has too few devices for its tasks, or the host whose devices do not lie right."""
    shape, each = entry.bucket[0], max(1, request.devices_each)
    parts = [
        (f"{entry.id} {pool.name}".strip(), seats or 0, (part & usable).bit_count())
        for pool, part, seats in zip(entry.pools, shape.pools, shape.seats, strict=True)
    ]
    lacking = [part for part in parts if part[2] < part[1] * each]
    for where, tasks, there in lacking or [(entry.id, seated, usable.bit_count())]:
        yield Reason(
            rule="seats",
            where=where,
            sentence=f"Spark started {counted(tasks, 'task')} here: {asked(request)}, "
            f"{counted(there, 'usable device')}",
            short=max(0.0, 1 - there / (tasks * each)),
        )


def asked(request: Request) -> str:
    """Say what a request asks for, its wishes left out.

    >>> asked(Request(members=8, devices_each=2, product="A100", group=4, near="nvlink", apart="host"))
    '8 members with 2 devices each (A100) in groups of 4 on one nvlink, no two groups on one host'
    """
    text = f"{counted(request.members, 'member')} with "
    text += (
        f"a share of {request.share_mib} MiB"
        if request.share_mib
        else counted(request.devices_each, "device")
    )
    text += " each" if request.members > 1 else ""
    needs = (
        request.product,
        f"{request.min_memory_mib} MiB" if request.min_memory_mib else None,
        f"compute capability {'.'.join(map(str, request.min_capability))}"
        if any(request.min_capability)
        else None,
        f"MIG profile {request.mig_profile}" if request.mig_profile else None,
    )
    named = ", ".join(need for need in needs if need)
    text += f" ({named})" if named else ""
    if request.group > 1 or request.near != "host":
        text += f" in groups of {request.group} on one {request.near}"
    if request.apart is not None:
        text += f", no two groups on one {request.apart}"
    return text


def counted(number: int, noun: str) -> str:
    """Say how many; ``1 device`` but ``2 devices``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
