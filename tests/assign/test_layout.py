"""How members are seated inside one host."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import combinations

import pytest

from assign.clusters import cluster, device, host, links, pool
from tritium.assign import Assigned, Host, Request, Snapshot, Unassignable, assign
from tritium.assign.index import Index
from tritium.assign.layout import choose, farthest, layout, room, shape_of
from tritium.assign.links import Costs
from tritium.assign.rules import Form, Kind
from tritium.assign.subset import best_set, grown_set
from tritium_discovery.device import HostId, Uuid

A100 = Kind("A100", 40_960, (8, 0), None)


def odd_costs(devices: int, seed: int) -> Costs:
    dice = random.Random(seed)  # noqa: S311  # seeded on purpose
    cost = {pair: dice.randint(1, 1000) for pair in combinations(range(devices), 2)}
    return tuple(
        tuple(0 if a == b else cost[min(a, b), max(a, b)] for b in range(devices)) for a in range(devices)
    )


def test_sixteen_devices_are_still_chosen_exactly() -> None:
    costs = odd_costs(16, seed=0)
    everything = (1 << 16) - 1
    shape = shape_of((A100,) * 16, (everything,), (None,), costs, ((0, ""),) * 16)

    chosen = choose(shape, everything, 7, Form(1, 1, "host"))

    assert chosen == best_set(costs, 7)
    assert chosen != sum(1 << d for d in grown_set(costs, tuple(range(16)), 7))


def test_seventeen_devices_are_grown() -> None:
    costs = odd_costs(17, seed=1)
    everything = (1 << 17) - 1
    shape = shape_of((A100,) * 17, (everything,), (None,), costs, ((0, ""),) * 17)

    chosen = choose(shape, everything, 5, Form(1, 1, "host"))

    assert chosen == sum(1 << d for d in grown_set(costs, tuple(range(17)), 5))


def test_a_group_lies_together_even_where_the_ring_would_part_it() -> None:
    snapshot = cluster(host("a", 4, lanes={(0, 1): 8, (1, 2): 12, (0, 3): 4, (2, 3): 1}))

    alone = assign(snapshot, Request(members=4))
    grouped = assign(snapshot, Request(members=4, group=2))

    assert isinstance(alone, Assigned)
    assert isinstance(grouped, Assigned)
    assert [m.devices[0] for m in alone.placement.members] == ["a-0", "a-1", "a-2", "a-3"]
    assert [m.devices[0] for m in grouped.placement.members] == ["a-0", "a-3", "a-1", "a-2"]


def test_devices_that_are_in_use_are_dealt_apart_from_those_that_are_free() -> None:
    held = [device(f"g-{n}", number=n) for n in range(4)]
    ill = [device(f"g-{n}", number=n, troubles=("lost",) if n < 2 else ()) for n in range(4)]
    users = {Uuid("g-0"): "x", Uuid("g-1"): "x"}

    for one in (replace(pool("1", held, seats=1), held=users), pool("1", ill, seats=1)):
        two = replace(one, name="2", held={})
        decision = assign(cluster(host("a", pools=[one, two])), Request(members=2))

        assert isinstance(decision, Assigned)
        assert [m.devices for m in decision.placement.members] == [("g-2",), ("g-3",)]


def test_devices_that_executors_share_are_counted_once() -> None:
    shared = [device(f"g-{n}", number=n) for n in range(2)]
    snapshot = cluster(host("a", pools=[pool("1", shared), pool("2", shared)]))

    assert isinstance(assign(snapshot, Request(members=2)), Assigned)
    assert isinstance(assign(snapshot, Request(members=3)), Unassignable)


@pytest.mark.parametrize("seats", [0, 1, 2, None])
def test_an_executor_has_all_devices_that_only_it_lists(seats: int | None) -> None:
    mine = pool("1", [device(f"g-{n}", number=n) for n in range(4)], seats=seats)

    [(shape, free)] = Index.of(cluster(host("a", pools=[mine]))).buckets

    assert free == 0b1111
    assert shape.pools == (0b1111,)


@pytest.mark.parametrize(
    ("devices", "seats", "dealt"),
    [
        (3, (None, 1), (0b001, 0b110)),
        (6, (None, 1), (0b000011, 0b111100)),
        (1, (1, None), (0b1, 0)),
        (4, (0, 2), (0, 0b1111)),
        (4, (3, 1), (0b0111, 0b1000)),
    ],
)
def test_devices_are_dealt_by_need_and_what_is_left_evenly(
    devices: int, seats: tuple[int | None, ...], dealt: tuple[int, ...]
) -> None:
    shared = [device(f"g-{n}", number=n) for n in range(devices)]
    pools = [pool(str(number), shared, seats=count) for number, count in enumerate(seats)]

    [(shape, _)] = Index.of(cluster(host("a", pools=pools))).buckets

    assert shape.pools == dealt


def test_devices_that_only_executors_without_seats_list_stay_whole() -> None:
    shared = [device(f"g-{n}", number=n) for n in range(4)]
    snapshot = cluster(host("a", pools=[pool("2", shared, seats=0), pool("1", shared, seats=0)]))

    [(shape, _)] = Index.of(snapshot).buckets

    assert shape.pools == (0b1111, 0)


def test_members_are_put_farthest_apart_up_to_the_limit_of_an_exact_search() -> None:
    def far(count: int) -> int:
        devices = [device(f"g-{n:02}", number=n) for n in range(count)]
        [(shape, free)] = Index.of(cluster(host("a", pools=[pool("1", devices)]))).buckets
        return farthest(shape, free, 2, Form(1, 1, "host"))

    assert far(16).bit_count() == 2
    assert far(17) == 0


def test_large_hosts_give_whole_members_only_and_exactly_as_many_as_asked() -> None:
    devices = [device(f"g-{n:02}", number=n) for n in range(21)]
    big = host("a", pools=[pool("1", devices[:9]), pool("2", devices[9:])])
    [(shape, free)] = Index.of(cluster(big)).buckets
    form = Form(2, 1, "host")

    assert room(shape, free, form) == 10
    for members in range(1, 11):
        chosen = choose(shape, free & ~1, members, form)
        assert chosen.bit_count() == 2 * members
        assert chosen & 1 == 0
        seats = layout(shape, free & ~1, members, form)
        assert len(seats.pools) == members
    assert choose(shape, free, 11, form) == 0


def test_large_hosts_fill_their_largest_net_first() -> None:
    devices = [device(f"g-{n:02}", number=n) for n in range(20)]
    nets = {
        (a, b): 2 for start, end in ((0, 4), (4, 12), (12, 20)) for a, b in combinations(range(start, end), 2)
    }
    one = Host(id=HostId("a"), pools=(pool("", devices),), links=links([d.uuid for d in devices], nets))

    decision = assign(Snapshot(hosts=(one,)), Request(members=4, group=4, near="nvlink"))

    assert isinstance(decision, Assigned)
    assert sorted(m.devices[0] for m in decision.placement.members) == [f"g-{n:02}" for n in range(4, 8)]


def test_large_hosts_fill_their_largest_executor_first() -> None:
    devices = [device(f"g-{n:02}", number=n) for n in range(20)]
    one = host("a", pools=[pool("1", devices[:6]), pool("2", devices[6:])])

    decision = assign(cluster(one), Request(members=7))

    assert isinstance(decision, Assigned)
    assert {m.pool for m in decision.placement.members} == {"2"}


def test_large_hosts_take_whole_groups_of_a_net_only() -> None:
    devices = [device(f"g-{n:02}", number=n) for n in range(21)]
    nets = {(a, b): 2 for start in range(0, 21, 3) for a, b in combinations(range(start, start + 3), 2)}
    one = Host(id=HostId("a"), pools=(pool("", devices),), links=links([d.uuid for d in devices], nets))

    decision = assign(Snapshot(hosts=(one,)), Request(members=14, group=2, near="nvlink"))

    assert isinstance(decision, Assigned)
    taken = [int(m.devices[0][2:]) // 3 for m in decision.placement.members]
    assert taken == [net for net in range(7) for _ in range(2)]


def test_members_of_several_devices_are_neighbours_by_their_fastest_link() -> None:
    lanes = {(0, 1): 8, (2, 3): 8, (4, 5): 8, (6, 7): 8, (0, 4): 4, (2, 4): 4, (2, 6): 4, (0, 6): 4}

    decision = assign(cluster(host("a", 8, lanes=lanes)), Request(members=4, devices_each=2))

    assert isinstance(decision, Assigned)
    assert [m.devices for m in decision.placement.members] == [
        ("a-0", "a-1"),
        ("a-4", "a-5"),
        ("a-2", "a-3"),
        ("a-6", "a-7"),
    ]


def test_the_devices_of_one_member_follow_their_ring_too() -> None:
    snapshot = cluster(host("a", 4, lanes={(0, 2): 4, (2, 1): 4, (1, 3): 4, (0, 3): 4}))

    decision = assign(snapshot, Request(members=1, devices_each=4))

    assert isinstance(decision, Assigned)
    assert decision.placement.members[0].devices == ("a-0", "a-2", "a-1", "a-3")
