"""Decides whether a device will do for a request, and says what it lacks if not."""

from __future__ import annotations

from typing import NamedTuple

from tritium.assign.types import Request

__all__ = ["Kind", "Lack", "lack"]


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


def lack(kind: Kind, request: Request) -> Lack | None:
    """Return what a device of this kind lacks, ``None`` if it will do.

    >>> from tritium.assign.types import Request
    >>> t4 = Kind(product="Tesla T4", memory_mib=15360, capability=(7, 5), mig_profile=None)
    >>> lack(t4, Request(members=1, min_memory_mib=16384))
    Lack(rule='memory', short=0.0625, sentence='15360 MiB, 16384 needed')
    """
    if request.product is not None and request.product not in kind.product:
        return Lack("product", 1.0, f"a {kind.product}, {request.product} needed")
    if request.mig_profile is not None and request.mig_profile != kind.mig_profile:
        has = kind.mig_profile or "not a MIG instance"
        return Lack("mig", 1.0, f"{has}, MIG profile {request.mig_profile} needed")
    if kind.mig_profile is not None and request.kind == "gang" and request.members * request.devices_each > 1:
        return Lack("mig", 1.0, f"MIG instance {kind.mig_profile}: NCCL cannot join instances to a gang")
    if kind.capability < request.min_capability:
        has, needed = ".".join(map(str, kind.capability)), ".".join(map(str, request.min_capability))
        return Lack("capability", 0.5, f"compute capability {has}, {needed} needed")
    needed_mib = max(request.min_memory_mib, request.share_mib)
    if kind.memory_mib < needed_mib:
        short = (needed_mib - kind.memory_mib) / needed_mib
        return Lack("memory", short, f"{kind.memory_mib} MiB, {needed_mib} needed")
    return None
