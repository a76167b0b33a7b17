"""Gangs arrive at a cluster of two kinds of hosts; four ways to choose devices are compared.

Half of the hosts are DGX-1V (eight devices in a hybrid cube mesh of NVLinks), half are PCIe boxes
with four bridged pairs. A gang waits in line (first come, first served), computes, and runs longer
the slower the slowest link of its ring is: one part in 25 of its time is communication over two NVLinks.
A host's network card is shared by the gangs that cross it when a gang starts; marked +, it is not.
Marked *, a third of the gangs of 2, 4 or 8 ranks require one
host, which only the assigner knows of. Everything is seeded; time is simulated.
"""

from __future__ import annotations

import heapq
import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from statistics import mean, quantiles

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


def jobs(dice: random.Random, asking: float) -> list[Job]:
    """Draw gangs that keep the cluster busy; of those that fit a host some require one."""
    drawn, now = [], 0.0
    for number in range(JOBS):
        now += dice.expovariate(1 / 200)
        ranks = dice.choice((1, 1, 2, 2, 4, 4, 8, 8, 12, 16))
        group = ranks if ranks in (2, 4, 8) and dice.random() < asking else 1
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


COLUMNS: Mapping[str, Callable[[Seen], float]] = {
    "mean wait, s": lambda seen: mean(seen.waits),
    "p95 wait, s": lambda seen: quantiles(seen.waits, n=20)[-1],
    "mean wait and run, s": lambda seen: mean(seen.takes),
    "mean slowest link, GB/s": lambda seen: mean(seen.slowest_gbps),
    "cross-host hops per ring": lambda seen: mean(seen.hops),
    "free devices on broken hosts": lambda seen: seen.scattered / seen.idle,
    "one host asked, not got": lambda seen: seen.broken,
}
MORE_IS_BETTER = {"mean slowest link, GB/s"}


def main() -> str:
    """Return the table as Markdown and draw the plot beside this file."""
    rows = {}
    for mark, asking, shared in (("", 0.0, True), (" \\*", 1 / 3, True), (" \\+", 0.0, False)):
        todo = jobs(random.Random(SEED), asking)  # noqa: S311  # seeded on purpose
        for name, way in WAYS.items():
            seen = simulate(way, todo, cards_are_shared=shared)
            rows[name + mark] = {column: value(seen) for column, value in COLUMNS.items()}
    picture = Path(__file__).with_suffix(".svg")
    picture.write_text(draw({name: rows[name] for name in WAYS}), encoding="utf-8")
    lines = ["### Placing a trace of gangs", ""]
    lines += ["| | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(f"{value:,.2f}" for value in row.values()) + " |")
    about = (
        f"{JOBS:,} gangs of 1 to 16 ranks on {HOSTS} hosts of 8 devices, seed {SEED}; communication is "
        f"{COMMUNICATION:.0%} of a gang's time over two NVLinks. \\* a third of those that fit a host "
        "require one, which only ours knows of. \\+ gangs that cross a network card do not share it."
    )
    lines += ["", f"{about} {verdict(rows)}", ""]
    lines.append(f"![The four ways compared](tests/benchmarks/{picture.name})")
    return "\n".join(lines)


def verdict(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Say where ours loses."""
    lost = []
    marked = [(name + mark, mark) for mark in ("", " \\*", " \\+") for name in ("packed", "spread")]
    for mine, mark in marked:
        for peer in ("Spark's order" + mark, "random" + mark):
            columns = [
                column
                for column in COLUMNS
                if rows[mine][column] != rows[peer][column]
                and (rows[mine][column] < rows[peer][column]) == (column in MORE_IS_BETTER)
            ]
            if columns:
                lost.append(f"{mine} to {peer} in {', '.join(columns)}")
    return f"Ours loses: {'; '.join(lost)}." if lost else "Ours loses nowhere."


def draw(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Draw one panel of bars per column."""
    width, bar, gap = 230, 22, 8
    height = 46 + len(rows) * (bar + gap)
    colours = ("#1f6feb", "#58a6ff", "#d29922", "#8b949e")
    parts = []
    shown = [column for column in COLUMNS if any(row[column] for row in rows.values())]
    for number, column in enumerate(shown):
        x, y = 20 + number % 4 * (width + 70), 20 + number // 4 * (height + 10)
        most = max(row[column] for row in rows.values())
        better = "more is better" if column in MORE_IS_BETTER else "less is better"
        parts.append(f'<text x="{x}" y="{y + 14}" font-weight="bold">{column}</text>')
        parts.append(f'<text x="{x}" y="{y + 29}" fill="#6e7781" font-size="11">{better}</text>')
        for place, (name, row) in enumerate(rows.items()):
            top, length = y + 38 + place * (bar + gap), row[column] / most * width * 0.72
            text = f"{name}: {row[column]:,.2f}"
            shape = f'x="{x}" y="{top}" width="{max(1.0, length):.1f}" height="{bar}"'
            parts.append(f'<rect {shape} fill="{colours[place]}" fill-opacity="0.6"/>')
            parts.append(f'<text x="{x + 6}" y="{top + 15}" font-size="12">{text}</text>')
    size = f'width="{4 * (width + 70)}" height="{2 * (height + 10)}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>", ""])


if __name__ == "__main__":
    sys.stdout.write(main() + "\n")
