"""How fast gangs are placed and device sets chosen, beside Spark's own order and the device plugin's search.

The peers are stated again in Python, so that the ratios compare the work and not the language:
Spark's round-robin over executors with its sorted address strings (``TaskSchedulerImpl``), and
go-gpuallocator's best effort policy, which scores every partition of the free devices.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations, islice
from math import factorial
from typing import Any

from tritium.assign import (
    Assigned,
    Host,
    Index,
    Member,
    Pool,
    Request,
    Snapshot,
    Unassignable,
    Waiting,
    assign,
)
from tritium.assign.layout import choose, layout
from tritium.assign.links import Costs
from tritium.assign.subset import best_set
from tritium_discovery.device import Device, HostId, Link, LinkKind, Uuid

EACH = 8
"""Devices per host."""
SAMPLE = 3_000
"""Partitions that are timed where all of them would take minutes."""


def cluster(hosts: int, *, busy: float = 0.0, alike: bool = True) -> Snapshot:
    """Hosts of eight devices, some of them in use: behind NVSwitches, or with other links on every host."""
    dice = random.Random(0)  # noqa: S311  # a benchmark, no secret
    made = []
    for number in range(hosts):
        uuids = [Uuid(f"GPU-{number:04}-{position}") for position in range(EACH)]
        devices = tuple(
            Device(
                uuid=uuid,
                address=position,
                pci_bus_id=f"00000000:{position:02X}:00.0",
                product="NVIDIA A100-SXM4-40GB",
                memory_mib=40_960,
                free_mib=40_960,
                capability=(8, 0),
                numa_node=position // 4,
            )
            for position, uuid in enumerate(uuids)
        )
        held = {uuid: "another job" for uuid in uuids if dice.random() < busy}
        pool = Pool(name="executor", devices=devices, held=held)
        links = {
            pair: Link(kind=LinkKind.NVLINK, lanes=12 if alike else dice.randint(1, 12))
            for pair in combinations(uuids, 2)
        }
        made.append(
            Host(id=HostId(f"node-{number:04}"), pools=(pool,), links=links, rack=f"rack-{number // 16}")
        )
    return Snapshot(hosts=tuple(made))


def first(work: Callable[[], Any]) -> float:
    """Return what a question takes of which nothing is known but the index."""
    best = float("inf")
    for _ in range(3):
        for known in (layout, choose):
            known.cache_clear()
        best = min(best, milliseconds(work, 1))
    return best


def members(index: Index, request: Request) -> tuple[Member, ...]:
    """Look at all members, which seats them and works out the rings."""
    decision = assign(index, request)
    assert isinstance(decision, Assigned), decision
    return tuple(decision.placement.members)


def milliseconds(work: Callable[[], Any], times: int = 7) -> float:
    """Return the best of some runs, in time of this process: others on the machine do not count."""
    best = float("inf")
    for _ in range(times):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best * 1000


def spark_order(snapshot: Snapshot, request: Request) -> list[tuple[str, list[str]]]:
    """Offer every executor in turn, one task at a time; a task takes the first of the sorted addresses."""
    free = {
        host.id: sorted(str(d.address) for d in pool.devices if d.uuid not in pool.held)
        for host in snapshot.hosts
        for pool in host.pools
    }
    placed: list[tuple[str, list[str]]] = []
    launched = True
    while launched and len(placed) < request.members:
        launched = False
        for host, addresses in free.items():
            if len(addresses) >= request.devices_each and len(placed) < request.members:
                placed.append((host, addresses[: request.devices_each]))
                free[host] = sorted(addresses[request.devices_each :])
                launched = True
    return placed


def gangs() -> Iterator[str]:
    """Time gangs on idle and on half busy clusters, and where no two hosts have the same links."""
    yield "| gang | cluster | index built | first asked | and all listed | asked again | Spark's order |"
    yield "|---|---|---|---|---|---|---|"
    for hosts, busy, alike in (
        (128, 0.0, True),
        (1250, 0.0, True),
        (1250, 0.5, True),
        (128, 0.0, False),
        (1250, 0.0, False),
    ):
        snapshot = cluster(hosts, busy=busy, alike=alike)
        index = Index.of(snapshot)
        built = milliseconds(partial(Index.of, snapshot), 3)
        free = sum(len(p.devices) - len(p.held) for h in snapshot.hosts for p in h.pools)
        whole = Request(members=hosts, devices_each=EACH)
        for request in (Request(members=64), Request(members=free), *([whole] if not busy else [])):
            asked = first(partial(assign, index, request))
            listed = first(partial(members, index, request))
            again = milliseconds(partial(assign, index, request))
            peer = milliseconds(partial(spark_order, snapshot, request), 3)
            state = (f"{busy:.0%} busy" if busy else "idle") + (
                "" if alike else ", other links on every host"
            )
            yield (
                f"| {request.members:,} x {request.devices_each} | {hosts * EACH:,} devices, {state} "
                f"| {built:.1f} ms | {asked:.2f} ms | {listed:.1f} ms | {again:.2f} ms | {peer:.2f} ms |"
            )


def refusals() -> Iterator[str]:
    """Time what does not fit a half busy cluster: all reasons, and all who are waited for."""
    yield "| refused | cluster | answer | first asked |"
    yield "|---|---|---|---|"
    for hosts, alike in ((128, True), (1250, True), (1250, False)):
        index = Index.of(cluster(hosts, busy=0.5, alike=alike))
        free = sum(len(p.devices) - len(p.held) for h in index.snapshot.hosts for p in h.pools)
        for request in (
            Request(members=free + 1),
            Request(members=64, devices_each=EACH),
            Request(members=hosts, devices_each=EACH),
            Request(members=hosts * EACH + 1),
            Request(members=1, product="H100"),
        ):
            decision = assign(index, request)
            assert isinstance(decision, Waiting | Unassignable), decision
            waits = f"waits for {len(decision.waits_for):,}" if isinstance(decision, Waiting) else "never"
            asked = first(partial(assign, index, request))
            yield (
                f"| {request.members:,} x {request.devices_each}{' H100' if request.product else ''} "
                f"| {hosts * EACH:,} devices, 50% busy{'' if alike else ', other links on every host'} "
                f"| {waits}, {len(decision.reasons):,} reasons | {asked:.1f} ms |"
            )


def random_links(devices: int, seed: int) -> Costs:
    """No two links alike: the hardest case for every search."""
    dice = random.Random(seed)  # noqa: S311  # a benchmark, no secret
    cost = {pair: dice.randint(1_000, 125_000) for pair in combinations(range(devices), 2)}
    return tuple(
        tuple(0 if one == two else cost[min(one, two), max(one, two)] for two in range(devices))
        for one in range(devices)
    )


def partitions(devices: tuple[int | None, ...], size: int) -> Iterator[list[tuple[int | None, ...]]]:
    """Yield every partition into sets, as go-gpuallocator does: padded, the first device with all company."""
    if not devices:
        yield []
        return
    first, others = devices[0], devices[1:]
    for company in combinations(others, size - 1):
        rest = list(others)
        for device in company:
            rest.remove(device)
        for others_sets in partitions(tuple(rest), size):
            yield [(first, *company), *others_sets]


def best_effort(costs: Costs, size: int, most: int | None = None) -> tuple[tuple[int, ...], int]:
    """Return the best set of the partition with the highest score, and how many partitions were scored."""
    score = [[1_000_000 // cost if cost else 0 for cost in row] for row in costs]
    padded: tuple[int | None, ...] = (*range(len(costs)), *[None] * (-len(costs) % size))

    def value(devices: tuple[int | None, ...]) -> int:
        return sum(score[a][b] for a, b in combinations([d for d in devices if d is not None], 2))

    best, best_value, count = [padded[:size]], -1, 0
    for sets in islice(partitions(padded, size), most):
        count += 1
        total = sum(map(value, sets))
        if total > best_value:
            best, best_value = sets, total
    chosen = max((s for s in best if None not in s), key=value, default=())
    return tuple(d for d in chosen if d is not None), count


def number_of_partitions(devices: int, size: int) -> int:
    """Return how many ways ``partitions`` finds where the devices divide evenly."""
    sets = devices // size
    same: int = factorial(size) ** sets * factorial(sets)
    return factorial(devices) // same


def subsets() -> Iterator[str]:
    """Time the best set of a host's devices."""
    yield "| best set | ours, exact | ours, cached | partition search | ours of it |"
    yield "|---|---|---|---|---|"
    for devices, size in ((8, 2), (8, 4), (16, 2), (16, 4), (16, 8)):
        costs = random_links(devices, seed=devices + size)
        exact = milliseconds(partial(best_set, costs, size))
        count = number_of_partitions(devices, size)
        timed = min(count, SAMPLE)
        peer = milliseconds(partial(best_effort, costs, size, SAMPLE), 2) * count / timed
        how = "" if timed == count else f" ({timed:,} of {count:,} partitions timed)"
        yield (
            f"| {size} of {devices} | {exact:.2f} ms | {cached(devices, size):.4f} ms "
            f"| {peer:,.1f} ms{how} | 1/{peer / exact:,.0f} |"
        )


def cached(devices: int, size: int) -> float:
    """Time the same choice on a host that was seen before: what a gang pays from its second time on."""
    from tritium.assign.layout import shape_of
    from tritium.assign.rules import Form, Kind

    kind = Kind("A100", 40_960, (8, 0), None)
    everything = (1 << devices) - 1
    shape = shape_of(
        (kind,) * devices, (everything,), (None,), random_links(devices, 1), ((0, ""),) * devices
    )
    form = Form(1, 1, "host")
    layout(shape, everything, size, form)
    choose(shape, everything, size, form)
    return milliseconds(partial(layout, shape, everything, size, form), 20)


def main() -> str:
    """Return the tables as Markdown."""
    lines = ["### Assigning", "", *gangs(), "", *refusals(), "", *subsets(), ""]
    lines.append(
        "The index is built once per snapshot. What is worked out for hosts of one make is remembered: a "
        "question asked again is quicker. A placement seats a host's members when one of them is looked at: "
        "to look at all of them is timed too. The best of several runs, in time of the process; the links of "
        "the last table are random."
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(main() + "\n")
