"""Which devices of a host are best together, and in which order."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assign.clusters import DGX_1V_LANES, LAW, all_lanes, cluster, device, host, links, pool
from tritium.assign import POLICIES, Assigned, Request, Snapshot, assign
from tritium.assign.links import Costs, cost_us, costs_of, neighbours, nets
from tritium.assign.ring import arrange, ring
from tritium.assign.subset import Quota, best_set, grown_set
from tritium_discovery.device import Link, LinkKind


def matrix(devices: int, lanes: dict[tuple[int, int], int]) -> Costs:
    names = [f"g{number}" for number in range(devices)]
    return costs_of([device(name) for name in names], links(names, lanes))


def positions(mask: int | None) -> list[int]:
    assert mask is not None
    return [bit for bit in range(mask.bit_length()) if mask >> bit & 1]


def price(costs: Costs, devices: tuple[int, ...]) -> int:
    return sum(costs[a][b] for a, b in combinations(devices, 2))


@st.composite
def matrices(draw: st.DrawFn, least: int, most: int) -> Costs:
    count = draw(st.integers(least, most))
    cost = {pair: draw(st.sampled_from([3, 10, 50, 125])) for pair in combinations(range(count), 2)}
    return tuple(
        tuple(0 if a == b else cost[min(a, b), max(a, b)] for b in range(count)) for a in range(count)
    )


def test_each_kind_of_link_is_faster_than_the_one_before() -> None:
    costs = [cost_us(Link(kind=kind)) for kind in sorted(LinkKind)]

    assert costs == sorted(set(costs), reverse=True)


def test_more_lanes_are_faster_and_no_lane_counts_as_one() -> None:
    assert [cost_us(Link(kind=LinkKind.NVLINK, lanes=lanes)) for lanes in (0, 1, 2, 12)] == [
        40_000,
        40_000,
        20_000,
        3_333,
    ]


def test_equal_links_prefer_one_numa_node() -> None:
    devices = [device("a", numa_node=0), device("b", numa_node=1), device("c", numa_node=1)]

    assert costs_of(devices, {}) == ((0, 125_001, 125_001), (125_001, 0, 125_000), (125_001, 125_000, 0))


def test_a_net_is_what_links_of_a_kind_join_step_by_step() -> None:
    costs = matrix(5, {(0, 3): 1, (3, 4): 1, (1, 2): 2})

    joined = neighbours(costs, LinkKind.NVLINK)
    assert nets(joined, 0b11111) == (0b11001, 0b00110)
    assert nets(joined, 0b10111) == (0b00001, 0b00110, 0b10000)


def test_nets_hold_across_numa_nodes() -> None:
    devices = [device("a", numa_node=0), device("b", numa_node=1)]

    costs = costs_of(devices, links(["a", "b"], {(0, 1): 1}))
    assert nets(neighbours(costs, LinkKind.NVLINK), 0b11) == (0b11,)


def test_a_switch_joins_what_nvlinks_join_too() -> None:
    assert nets(neighbours(matrix(3, {(0, 1): 1}), LinkKind.PIX), 0b111) == (0b011, 0b100)


@LAW
@given(costs=matrices(1, 8), data=st.data())
def test_no_set_costs_less_than_the_best_set(costs: Costs, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, len(costs)))

    best = tuple(positions(best_set(costs, size)))

    everything = set(range(len(costs)))
    assert best == min(
        combinations(range(len(costs)), size),
        key=lambda devices: (
            price(costs, devices),
            price(costs, tuple(sorted(everything - set(devices)))),
            sum(1 << d for d in devices),
        ),
    )


def test_of_equal_sets_the_one_is_taken_that_leaves_most_behind() -> None:
    costs = matrix(4, {(0, 1): 4, (2, 3): 4, (0, 2): 4})

    assert positions(best_set(costs, 2)) == [0, 1]
    assert positions(best_set(costs, 1)) == [1]
    assert positions(best_set(matrix(3, {(0, 1): 4}), 1)) == [2]


def test_a_quad_of_a_dgx_1v_is_taken_whole() -> None:
    costs = matrix(8, DGX_1V_LANES)

    assert positions(best_set(costs, 4)) in ([0, 1, 2, 3], [4, 5, 6, 7])


@LAW
@given(costs=matrices(2, 7), data=st.data())
def test_quotas_are_kept_and_nothing_better_keeps_them(costs: Costs, data: st.DataObject) -> None:
    part = data.draw(st.integers(0, 2 ** len(costs) - 1))
    quotas = (Quota(part, 2), Quota(~part & 2 ** len(costs) - 1, 1, data.draw(st.integers(0, 3))))
    size = data.draw(st.integers(0, len(costs)))

    best = best_set(costs, size, quotas)

    keeping = [
        devices
        for devices in combinations(range(len(costs)), size)
        if sum(part >> d & 1 for d in devices) % 2 == 0
        and sum(1 - (part >> d & 1) for d in devices) == quotas[1].exactly
    ]
    assert (best is None) == (not keeping)
    if keeping:
        assert price(costs, tuple(positions(best))) == min(price(costs, devices) for devices in keeping)


@LAW
@given(costs=matrices(1, 7), data=st.data())
def test_a_grown_set_has_its_size_and_is_no_worse_than_growing_from_one_device(
    costs: Costs, data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, len(costs)))

    grown = grown_set(costs, tuple(range(len(costs))), size)

    assert len(set(grown)) == size
    assert list(grown) == sorted(grown)
    if size == 2:
        assert price(costs, grown) == min(price(costs, pair) for pair in combinations(range(len(costs)), 2))


def test_growing_weighs_the_links_to_all_that_was_taken() -> None:
    costs = ((0, 1, 5, 9), (1, 0, 9, 2), (5, 9, 0, 9), (9, 2, 9, 0))

    assert grown_set(costs, (0, 1, 2, 3), 3) == (0, 1, 3)


@LAW
@given(costs=matrices(1, 7))
def test_no_ring_has_a_faster_slowest_link(costs: Costs) -> None:
    def slowest(order: tuple[int, ...]) -> int:
        return max(costs[a][b] for a, b in zip(order, (*order[1:], order[0]), strict=True))

    found = ring(costs)

    assert sorted(found) == list(range(len(costs)))
    assert found[0] == 0
    assert slowest(found) == min(map(slowest, permutations(range(len(costs)))))


def test_a_ring_goes_to_the_nearest_neighbour_first() -> None:
    costs = ((0, 9, 9, 3), (9, 0, 3, 9), (9, 3, 0, 9), (3, 9, 9, 0))

    assert ring(costs) == (0, 3, 1, 2)


def test_a_ring_without_links_keeps_the_order_of_the_devices() -> None:
    assert ring(matrix(16, all_lanes(16))) == tuple(range(16))
    assert ring(()) == ()


def test_a_ring_that_is_not_found_in_time_falls_back_on_a_slower_one() -> None:
    near = {pair: 12 for side in (range(8), range(8, 16)) for pair in combinations(side, 2)}
    costs = matrix(16, near)

    assert sorted(ring(costs)) == list(range(16))


@LAW
@given(costs=matrices(2, 8), data=st.data())
def test_members_are_cut_so_that_their_own_links_cost_least(costs: Costs, data: st.DataObject) -> None:
    each = data.draw(st.sampled_from([k for k in (1, 2, 3, 4) if len(costs) % k == 0]))
    devices = tuple(range(len(costs)))

    order = arrange(costs, devices, (each, 1))

    def inside(order: tuple[int, ...]) -> int:
        return sum(price(costs, order[start : start + each]) for start in range(0, len(order), each))

    assert sorted(order) == list(devices)
    if len(costs) <= 6:
        assert inside(order) == min(map(inside, permutations(devices)))


def test_eight_devices_are_cut_as_is_best_for_all_and_not_the_best_pair_first() -> None:
    lanes = {(0, 1): 12, (0, 2): 8, (1, 3): 8, (4, 5): 4, (6, 7): 4}

    order = arrange(matrix(8, lanes), tuple(range(8)), (2, 1))

    assert {tuple(sorted(order[i : i + 2])) for i in range(0, 8, 2)} == {(0, 2), (1, 3), (4, 5), (6, 7)}


def test_a_groups_ring_does_not_part_the_devices_of_a_member() -> None:
    costs = ((0, 3, 13, 13), (3, 0, 13, 13), (13, 13, 0, 20), (13, 13, 20, 0))

    assert ring(costs) == (0, 2, 1, 3)
    assert arrange(costs, (0, 1, 2, 3), (4, 2, 1)) == (0, 1, 2, 3)


def test_many_members_are_cut_pair_by_pair_the_best_first() -> None:
    lanes = {(number, 15 - number): 12 for number in range(8)}

    order = arrange(matrix(16, lanes), tuple(range(16)), (2, 1))

    assert {tuple(sorted(order[i : i + 2])) for i in range(0, 16, 2)} == set(lanes)


def test_each_rank_gets_a_bridged_pair() -> None:
    snapshot = cluster(host("a", 4, lanes={(0, 3): 4, (1, 2): 4}))

    decision = assign(snapshot, Request(members=2, devices_each=2))

    assert isinstance(decision, Assigned)
    assert [m.devices for m in decision.placement.members] == [("a-0", "a-3"), ("a-1", "a-2")]


def test_ranks_follow_the_ring_of_links() -> None:
    snapshot = cluster(host("a", 4, lanes={(0, 2): 4, (2, 1): 4, (1, 3): 4, (0, 3): 4}))

    decision = assign(snapshot, Request(members=4))

    assert isinstance(decision, Assigned)
    assert [m.devices[0] for m in decision.placement.members] == ["a-0", "a-2", "a-1", "a-3"]


@pytest.mark.parametrize("policy", sorted(POLICIES))
@LAW
@given(costs=matrices(2, 8), data=st.data())
def test_no_choice_of_devices_on_one_host_scores_better(
    policy: str, costs: Costs, data: st.DataObject
) -> None:
    names = [f"g{number}" for number in range(len(costs))]
    link = {3: Link(kind=LinkKind.NVLINK, lanes=12), 10: Link(kind=LinkKind.NVLINK, lanes=4),
            50: Link(kind=LinkKind.PIX), 125: Link(kind=LinkKind.SYS)}  # fmt: skip
    one = host("a", pools=[])
    devices = [device(name, number=number) for number, name in enumerate(names)]
    pairs = {
        (devices[a].uuid, devices[b].uuid): link[costs[a][b]] for a, b in combinations(range(len(costs)), 2)
    }
    snapshot = Snapshot(hosts=(replace(one, pools=(pool("", devices),), links=pairs),))
    members = data.draw(st.integers(1, len(costs)))

    decision = assign(snapshot, Request(members=members), policy)

    real = costs_of(devices, pairs)
    assert isinstance(decision, Assigned)
    chosen = tuple(sorted(names.index(m.devices[0]) for m in decision.placement.members))
    prices = [price(real, some) for some in combinations(range(len(costs)), members)]
    assert price(real, chosen) == (max(prices) if policy == "spread" else min(prices))
