"""Decides what a request and its wishes ask: of a device, of devices together, of groups apart."""

from __future__ import annotations

from typing import Literal, NamedTuple

from tritium.assign.types import Constraints, Request

__all__ = ["Form", "Kind", "Lack", "apart_of", "form_of", "lack"]

_NEAR = ("host", "switch", "nvlink")
_APART = (None, "host", "rack")
"""What asks for more comes later."""


class Form(NamedTuple):
    """How a request cuts the devices of a host."""

    devices_each: int
    group: int
    near: Literal["host", "switch", "nvlink"]


class Kind(NamedTuple):
    """What requests may ask of a device; a cluster has few kinds of devices."""

    product: str
    memory_mib: int
    capability: tuple[int, int]
    mig_profile: str | None


class Lack(NamedTuple):
    """The first rule that a device does not meet."""

    rule: str
    short: float
    """How much is missing, from just above 0 to 1."""
    sentence: str
    """With the numbers, e.g. ``9000 MiB, 16384 needed``."""


def form_of(request: Request) -> Form:
    """Return how a request cuts the devices of a host, its wishes included."""
    near = max((asked.near for asked in (request, *request.prefer)), key=_NEAR.index)
    return Form(request.devices_each, request.group, near)


def apart_of(request: Request) -> Literal["host", "rack"] | None:
    """Return what no two groups may share, the wishes included."""
    return max((asked.apart for asked in (request, *request.prefer)), key=_APART.index)


def lack(kind: Kind, request: Request) -> Lack | None:
    """Return what a device of this kind lacks, ``None`` if it will do for the request and its wishes.

    >>> from tritium.assign.types import Request
    >>> t4 = Kind(product="Tesla T4", memory_mib=15360, capability=(7, 5), mig_profile=None)
    >>> lack(t4, Request(members=1, min_memory_mib=16384))
    Lack(rule='memory', short=0.0625, sentence='15360 MiB, 16384 needed')
    """
    if kind.mig_profile is not None and request.kind == "gang" and request.members * request.devices_each > 1:
        return Lack("mig", 1.0, f"MIG instance {kind.mig_profile}: NCCL cannot join instances to a gang")
    for asked in (request, *request.prefer):
        lacking = _lack(kind, asked, max(asked.min_memory_mib, request.share_mib))
        if lacking is not None:
            return lacking
    return None


def _lack(kind: Kind, asked: Constraints, needed_mib: int) -> Lack | None:
    if asked.product is not None and asked.product not in kind.product:
        return Lack("product", 1.0, f"a {kind.product}, {asked.product} needed")
    if asked.mig_profile is not None and asked.mig_profile != kind.mig_profile:
        has = kind.mig_profile or "not a MIG instance"
        return Lack("mig", 1.0, f"{has}, MIG profile {asked.mig_profile} needed")
    if kind.capability < asked.min_capability:
        has, needed = ".".join(map(str, kind.capability)), ".".join(map(str, asked.min_capability))
        return Lack("capability", 1.0, f"compute capability {has}, {needed} needed")
    if kind.memory_mib < needed_mib:
        short = (needed_mib - kind.memory_mib) / needed_mib
        return Lack("memory", short, f"{kind.memory_mib} MiB, {needed_mib} needed")
    return None
