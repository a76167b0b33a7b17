"""The model: gangs arrive at a cluster of two kinds of hosts, and four ways choose devices for them.

Half of the hosts are DGX-1V (eight devices in a hybrid cube mesh of NVLinks), half are PCIe boxes
with four bridged pairs. A gang waits in line (first come, first served), computes, and runs longer
the slower the slowest link of its ring is: one part in 25 of its time is communication over two NVLinks.
Everything is seeded; time is simulated.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from tritium.assign import Assigned, Host, Index, Member, Pool, Request, Snapshot, assign
from tritium.assign.links import cost_us
from tritium.assign.take import give_back, take
from tritium_discovery.device import Device, HostId, Link, LinkKind, Uuid

HOSTS, JOBS, SEED = 16, 1_000, 20
NETWORK_US = 80_000
"""A gigabyte from host to host over 100 Gb/s Ethernet."""
BEST_US = 20_000
COMMUNICATION = 0.04
CUBE_MESH = {
    (0, 1): 1, (0, 2): 1, (0, 3): 2, (0, 4): 2, (1, 2): 2, (1, 3): 1, (1, 5): 2, (2, 3): 2,
    (2, 6): 1, (3, 7): 1, (4, 5): 1, (4, 6): 1, (4, 7): 2, (5, 6): 2, (5, 7): 1, (6, 7): 2,
}  # fmt: skip
BRIDGES = {(0, 1): 2, (2, 3): 2, (4, 5): 2, (6, 7): 2}

Place = Sequence[tuple[HostId, Uuid]]
"""By rank: host and device."""

Chooser = Callable[[Index, Request, random.Random], Place | None]


def host(number: int) -> Host:
    """Return a DGX-1V or a PCIe box."""
    mesh = number % 2 == 0
    uuids = [Uuid(f"GPU-{number:02}-{position}") for position in range(8)]
    devices = tuple(
        Device(
            uuid=uuid,
            address=position,
            pci_bus_id=f"00000000:{position:02X}:00.0",
            product="Tesla V100-SXM2-32GB" if mesh else "NVIDIA A40",
            memory_mib=32_768,
            free_mib=32_768,
            capability=(7, 0),
            numa_node=position // 4,
        )
        for position, uuid in enumerate(uuids)
    )
    lanes = CUBE_MESH if mesh else BRIDGES
    links = {}
    for a, b in combinations(range(8), 2):
        slow = LinkKind.SYS if a // 4 != b // 4 else LinkKind.PHB
        nvlinks = lanes.get((a, b), 0)
        links[uuids[a], uuids[b]] = Link(kind=LinkKind.NVLINK, lanes=nvlinks) if nvlinks else Link(kind=slow)
    pool = Pool(name="executor", devices=devices)
    return Host(id=HostId(f"node-{number:02}"), pools=(pool,), links=links, rack=f"rack-{number // 4}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One gang."""

    name: str
    arrives: float
    works: float
    """Seconds on the best links."""
    request: Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Which gangs come, and what their links are like."""

    about: str
    every_s: float
    """Mean time between two arrivals."""
    asking: float = 0.0
    """Of the gangs of 2, 4 or 8 ranks, how many require one host."""
    cards_are_shared: bool = True
    """Whether a host's network card is shared by the gangs that cross it when a gang starts."""


TRACES: Mapping[str, Trace] = {
    "calm": Trace(about="a gang every 200 s; those that cross a host's network card share it", every_s=200),
    "asking": Trace(
        about="calm, and a third of the gangs of 2, 4 or 8 require one host, which only ours knows of",
        every_s=200,
        asking=1 / 3,
    ),
    "alone": Trace(
        about="calm, and every gang has a network card for itself", every_s=200, cards_are_shared=False
    ),
    "busy": Trace(
        about="alone, and a gang every 110 s; inside a PCIe box a ring of 8 crosses the CPUs' interconnect, "
        "which is slower than a network card of its own",
        every_s=110,
        cards_are_shared=False,
    ),
}


def jobs(dice: random.Random, trace: Trace) -> list[Job]:
    """Draw the gangs of a trace."""
    drawn, now = [], 0.0
    for number in range(JOBS):
        now += dice.expovariate(1 / trace.every_s)
        ranks = dice.choice((1, 1, 2, 2, 4, 4, 8, 8, 12, 16))
        group = ranks if ranks in (2, 4, 8) and dice.random() < trace.asking else 1
        works = dice.lognormvariate(7.0, 1.0)
        request = Request(members=ranks, group=group)
        drawn.append(Job(name=f"job {number}", arrives=now, works=works, request=request))
    return drawn


def free_devices(index: Index) -> list[tuple[HostId, list[Uuid]]]:
    """Return each host's free devices in the order of Spark's addresses."""
    return [
        (
            one.id,
            [device.uuid for pool in one.pools for device in pool.devices if device.uuid not in pool.held],
        )
        for one in index.snapshot.hosts
    ]


def ours(policy: str) -> Chooser:
    """Choose as the assigner does."""

    def choose(index: Index, request: Request, dice: random.Random) -> Place | None:
        del dice
        decision = assign(index, request, policy)
        if not isinstance(decision, Assigned):
            return None
        return [(member.host, member.devices[0]) for member in decision.placement.members]

    return choose


def spark(index: Index, request: Request, dice: random.Random) -> Place | None:
    """Choose as Spark does: executors shuffled, a task each in turn, the first free address."""
    free = free_devices(index)
    dice.shuffle(free)
    place: list[tuple[HostId, Uuid]] = []
    while len(place) < request.members and any(devices for _, devices in free):
        place += [(one, devices.pop(0)) for one, devices in free if devices][: request.members - len(place)]
    return place if len(place) == request.members else None


def at_random(index: Index, request: Request, dice: random.Random) -> Place | None:
    """Choose any free devices, as spark-tensorflow-distributor does on a host."""
    free = [(one, device) for one, devices in free_devices(index) for device in devices]
    return dice.sample(free, request.members) if len(free) >= request.members else None


WAYS: Mapping[str, Chooser] = {
    "packed": ours("packed"),
    "spread": ours("spread"),
    "Spark's order": spark,
    "random": at_random,
}


@dataclass(slots=True, kw_only=True)
class Seen:
    """What one run of the simulation measured."""

    waits: list[float] = field(default_factory=list)
    takes: list[float] = field(default_factory=list)
    """Seconds from arrival to end."""
    slowest_gbps: list[float] = field(default_factory=list)
    """The slowest link of each ring."""
    hops: list[int] = field(default_factory=list)
    """Links of each ring that leave the host."""
    broken: int = 0
    """Gangs that asked for one host and did not get it."""
    scattered: float = 0.0
    """Free devices on hosts that are in use, times seconds."""
    idle: float = 0.0
    """Free devices, times seconds."""


def slowest_us(hosts: Mapping[HostId, Host], place: Place, crossing: Mapping[HostId, int]) -> tuple[int, int]:
    """Return the time over the slowest link of the ring, and with its network cards shared by other gangs."""
    alone = shared = 0
    for (one, a), (two, b) in ring_of(place):
        if one != two:
            alone = max(alone, NETWORK_US)
            shared = max(shared, NETWORK_US * (1 + max(crossing.get(one, 0), crossing.get(two, 0))))
        elif a != b:
            alone = max(alone, cost_us(hosts[one].links[min(a, b), max(a, b)]))
    return alone, max(alone, shared)


def ring_of(place: Place) -> list[tuple[tuple[HostId, Uuid], tuple[HostId, Uuid]]]:
    """Return each rank with its neighbour."""
    return list(zip(place, [*place[1:], place[0]], strict=True))


def crossed(place: Place) -> set[HostId]:
    """Return the hosts whose network card a gang uses."""
    return {one for (here, _), (there, _) in ring_of(place) if here != there for one in (here, there)}


def simulate(way: Chooser, todo: Sequence[Job], *, cards_are_shared: bool) -> Seen:
    """Run all jobs through the cluster."""
    hosts = {HostId(one.id): one for one in map(host, range(HOSTS))}
    index, dice, seen = Index.of(Snapshot(hosts=tuple(hosts.values()))), random.Random(SEED), Seen()  # noqa: S311
    ends: list[tuple[float, str, set[HostId]]] = []
    crossing: Counter[HostId] = Counter()
    line, now = list(reversed(todo)), 0.0
    while line or ends:
        job = line[-1] if line else None
        place = way(index, job.request, dice) if job and job.arrives <= now else None
        if job and place:
            line.pop()
            alone, shared = slowest_us(hosts, place, crossing if cards_are_shared else {})
            hops = sum(one != two for (one, _), (two, _) in ring_of(place))
            slower = 1 - COMMUNICATION + COMMUNICATION * max(1.0, shared / BEST_US)
            crossing.update(crossed(place))
            heapq.heappush(ends, (now + job.works * slower, job.name, crossed(place)))
            index = take(index, job.name, job.request, _members(place))
            seen.waits.append(now - job.arrives)
            seen.takes.append(now + job.works * slower - job.arrives)
            seen.broken += job.request.group > 1 and hops > 0
            if len(place) > 1:
                seen.slowest_gbps.append(1_000_000 / alone)
                seen.hops.append(hops)
            continue
        waiting = [job.arrives] if job and job.arrives > now else []
        then = min([*waiting, *(end[0] for end in ends[:1])])
        _count_idle(seen, index, then - now)
        now = then
        while ends and ends[0][0] <= now:
            _, name, cards = heapq.heappop(ends)
            crossing.subtract(cards)
            index = give_back(index, name)
    return seen


def _members(place: Place) -> list[Member]:
    return [
        Member(rank=rank, local_rank=0, group_rank=0, host=one, pool="executor", devices=(device,))
        for rank, (one, device) in enumerate(place)
    ]


def _count_idle(seen: Seen, index: Index, seconds: float) -> None:
    for entry in index.entries:
        count = entry.bucket[1].bit_count()
        seen.idle += count * seconds
        seen.scattered += (count if count < 8 else 0) * seconds
