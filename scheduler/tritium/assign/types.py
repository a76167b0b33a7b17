"""What the assigner is given and what it answers: frozen data, no behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tritium_discovery.device import Device, HostId, Link, Uuid

__all__ = [
    "Assigned",
    "Host",
    "Member",
    "Placement",
    "Pool",
    "Reason",
    "Request",
    "Snapshot",
    "Unassignable",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The devices of one host that one executor may hand out."""

    name: str
    """Whose they are, e.g. ``executor 1``."""
    devices: tuple[Device, ...]
    held: Mapping[Uuid, str] = field(default_factory=dict)
    """Devices in use and by whom, e.g. ``rank 0 of gang 7c1e (pid 4711)``: never handed out."""
    seats: int | None = None
    """Members that must go here, because Spark started that many tasks here; ``None``: as many as fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One locality with its pools and the links between all of their devices."""

    id: HostId
    pools: tuple[Pool, ...]
    links: Mapping[tuple[Uuid, Uuid], Link] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that the assigner may know about the cluster at one moment."""

    hosts: tuple[Host, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one gang, or one inference task, asks for."""

    members: int
    """Ranks of a gang, or replicas of a model; at least 1."""
    devices_each: int = 1
    """Whole devices per member; 0 for ranks that compute on the CPU."""
    min_memory_mib: int = 0
    """Memory that each device must have in all."""
    product: str | None = None
    """A part of the product name that each device must carry, e.g. ``A100``."""
    min_capability: tuple[int, int] = (0, 0)
    """Lowest CUDA compute capability."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One rank and the exact devices it opens."""

    rank: int
    local_rank: int
    """Its number among the ranks of its locality."""
    group_rank: int
    """Its locality's number among the localities of the gang."""
    host: HostId
    pool: str
    devices: tuple[Uuid, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Every member of a request, by rank."""

    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One rule that stood in the way, with its numbers."""

    rule: str
    """Short name of the rule, e.g. ``memory``, ``held``, ``health``, ``count``."""
    where: str
    """The host, or the host and pool, it spoke about, e.g. ``node-7 executor 1``; empty for the whole cluster."""
    sentence: str
    """E.g. ``GPU-8f6d: 9000 MiB, 16384 needed``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """The request fits, and this is how."""

    placement: Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class Unassignable:
    """The request does not fit this snapshot, and this is why."""

    reasons: tuple[Reason, ...]
