"""What the assigner is given and what it answers: frozen data, no behaviour."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tritium_discovery.device import Device, HostId, Link, Uuid

__all__ = [
    "Assigned",
    "BadRequest",
    "Constraints",
    "Decision",
    "Drain",
    "Host",
    "Member",
    "Placement",
    "Pool",
    "Reason",
    "Request",
    "Share",
    "Snapshot",
    "Unassignable",
    "Wait",
    "Waiting",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A part of a device's memory that one inference owner was promised."""

    device: Uuid
    owner: str
    """Whose it is, e.g. ``model digits (pid 812)``."""
    mib: int
    """Promised to it, e.g. ``2048``; all of the device's memory if it holds the device whole."""
    used_mib: int = 0
    """What it used of that when the device's ``free_mib`` was read; the rest is not free either."""
    priority: int | None = 0
    """Only a request of a higher priority may ask it to drain; ``None``: nobody uses it now, any may."""
    drain_s: float | None = None
    """Seconds it may take to give the device up when asked; ``None``: it never gives it up."""


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
    shares: tuple[Share, ...] = ()
    """What inference owners were promised of the devices; what is left may be shared further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One locality with its pools and the links between all of their devices."""

    id: HostId
    pools: tuple[Pool, ...]
    links: Mapping[tuple[Uuid, Uuid], Link] = field(default_factory=dict)
    """The key's UUIDs are in ascending order; a pair without a link counts as the slowest."""
    rack: str = ""
    """The rack or zone it stands in, e.g. ``rack-12``; empty where nobody says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that the assigner may know about the cluster at one moment."""

    hosts: tuple[Host, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """What devices, and which of them together, will do; the defaults ask for nothing."""

    min_memory_mib: int = 0
    """Memory that each device must have in all."""
    product: str | None = None
    """A part of the product name that each device must carry, e.g. ``A100``."""
    min_capability: tuple[int, int] = (0, 0)
    """Lowest CUDA compute capability."""
    mig_profile: str | None = None
    """The MIG profile that each device must have, e.g. ``1g.5gb``."""
    near: Literal["host", "switch", "nvlink"] = "host"
    """What the devices of one group share: a host, a PCIe switch, or a net of NVLinks."""
    apart: Literal["host", "rack"] | None = None
    """No two groups may share a host, or a rack."""


class BadRequest(ValueError):
    """A request contradicts itself; ``problems`` are all of the contradictions."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Constraints):
    """What one gang, or the replicas of one model, ask for: all of it or nothing.

    Raises:
        BadRequest: when it contradicts itself, e.g. a gang that asks for shares of devices.
    """

    members: int
    """Ranks of a gang, or replicas of a model; at least 1."""
    devices_each: int = 1
    """Whole devices per member; 0 for ranks that compute on the CPU."""
    kind: Literal["gang", "replicas"] = "gang"
    """The members of a gang talk to each other over the links of their devices; replicas do not."""
    share_mib: int = 0
    """Memory that each replica needs of a device that it shares with others; 0: whole devices."""
    group: int = 1
    """Members that must be near each other, e.g. 4 for tensor parallel; ranks of a group are consecutive."""
    priority: int = 0
    """Higher is placed first, and may ask shares of lower priority to drain."""
    drain_s: float | None = None
    """Seconds in which replicas give their devices up when asked; ``None``: they never do."""
    prefer: tuple[Constraints, ...] = ()
    """Wished for, most important first: what cannot be had is given up, the last wish first."""

    def __post_init__(self) -> None:
        problems = (
            (self.members < 1, f"members is {self.members}, at least 1 needed"),
            (self.devices_each < 0, f"devices_each is {self.devices_each}, at least 0 needed"),
            (self.min_memory_mib < 0, f"min_memory_mib is {self.min_memory_mib}, at least 0 needed"),
            (self.product == "", "product is empty; leave it out where any will do"),
            (
                self.drain_s is not None and not 0 <= self.drain_s < math.inf,
                f"drain_s is {self.drain_s}, seconds needed",
            ),
            (self.share_mib < 0, f"share_mib is {self.share_mib}, at least 0 needed"),
            (self.group < 1, f"group is {self.group}, at least 1 needed"),
            (
                self.members % max(1, self.group) != 0,
                f"{self.members} members do not divide into groups of {self.group}",
            ),
            (
                self.share_mib > 0 and self.kind == "gang",
                "a gang never shares devices: NCCL needs whole ones",
            ),
            (
                self.share_mib > 0 and (self.devices_each, self.group) != (1, 1),
                "a share is of one device, and shares form no groups",
            ),
        )
        found = tuple(sentence for wrong, sentence in problems if wrong)
        if found:
            raise BadRequest(found)


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
    """In link order."""
    cpus: str = ""
    """The CPUs on the NUMA nodes of its devices, e.g. ``0-31,64-95``; empty where nobody says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Every member of a request, by rank."""

    members: Sequence[Member]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One rule that stood in the way, with its numbers."""

    rule: str
    """Short name of the rule, e.g. ``memory``, ``held``, ``health``, ``count``."""
    where: str
    """The host, or the host and pool, it spoke about, e.g. ``node-7 executor 1``; empty: all hosts."""
    sentence: str
    """E.g. ``GPU-8f6d: 9000 MiB, 16384 needed``."""
    short: float = 1.0
    """How much was missing, from 0 (nothing but time) to 1 (everything); reasons come closest first."""

    def __str__(self) -> str:
        """Return the sentence behind its place."""
        return f"{self.where}: {self.sentence}" if self.where else self.sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A device that the request waits for, and who has it."""

    host: HostId
    device: Uuid
    holder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """The request fits, and this is how."""

    placement: Placement
    given_up: tuple[Constraints, ...] = ()
    """The wishes of ``prefer`` that could not be had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The request does not fit now; it will once these devices are given back."""

    reasons: tuple[Reason, ...]
    waits_for: tuple[Wait, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unassignable:
    """The request can never fit these hosts, even if all were idle, and this is why."""

    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Inference owners that must give way for a request, and what it gets when they have."""

    shares: tuple[Share, ...]
    """Whom to ask; each has its own ``drain_s``."""
    within_s: float
    """When the last of them must be gone, counted from the asking."""
    placement: Placement
    """Where the request goes then."""


Decision = Assigned | Waiting | Unassignable
