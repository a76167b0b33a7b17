"""Which hosts a policy takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assign.clusters import LAW, all_lanes, cluster, host
from tritium.assign import POLICIES, Assigned, Host, Request, Snapshot, assign
from tritium.assign.policies import Rooms, packed, spread
from tritium_discovery.device import Link, LinkKind


def rooms(units: Sequence[int], tight: Sequence[int] = (), rack: Sequence[int] = ()) -> Rooms:
    nothing = [0] * len(units)
    return Rooms(*(np.array(column, np.int64) for column in (units, tight or nothing, rack or nothing)))


def hosts_of(snapshot: Snapshot, request: Request, policy: str) -> list[str]:
    decision = assign(snapshot, request, policy)
    assert isinstance(decision, Assigned), decision
    return [member.host for member in decision.placement.members]


def test_packed_takes_the_host_that_just_fits() -> None:
    assert hosts_of(cluster(host("a", 8), host("b", 2), host("c", 4)), Request(members=2), "packed") == [
        "b",
        "b",
    ]


def test_packed_takes_the_fewest_hosts_and_ends_on_the_one_that_just_fits() -> None:
    assert hosts_of(
        cluster(host("a", 2), host("b", 4), host("c", 3), host("d", 1)), Request(members=5), "packed"
    ) == ["b", "b", "b", "b", "d"]


def test_packed_prefers_nvlinks_to_a_switch_and_a_switch_to_a_tighter_host() -> None:
    nvlink = host("z", 4, lanes=all_lanes(4))
    tight = host("a", 2)

    assert hosts_of(cluster(tight, nvlink), Request(members=2), "packed") == ["z", "z"]
    assert packed(rooms([2, 4, 8], tight=[0, 1, 2]), 2).tolist() == [0, 0, 2]


def test_packed_prefers_nvlinks_where_two_hosts_just_fit() -> None:
    assert hosts_of(
        cluster(host("a", 2), host("z", 2, lanes=all_lanes(2))), Request(members=2, group=2), "packed"
    ) == ["z", "z"]


def test_packed_prefers_a_switch_to_none_and_nvlinks_to_a_switch() -> None:
    none, nvlink = host("a", 2), host("c", 6, lanes=all_lanes(6))

    assert hosts_of(cluster(none, switched("b", 3)), Request(members=2), "packed") == ["b", "b"]
    assert hosts_of(cluster(none, switched("b", 4), nvlink), Request(members=2), "packed") == ["c", "c"]


def switched(name: str, devices: int) -> Host:
    one = host(name, devices)
    uuids = [device.uuid for device in one.pools[0].devices]
    return replace(one, links=dict.fromkeys(combinations(uuids, 2), Link(kind=LinkKind.PIX)))


def test_packed_takes_the_tightest_rack_that_fits() -> None:
    snapshot = cluster(
        host("a", 2, rack="r1"),
        host("b", 2, rack="r2"),
        host("c", 2, rack="r1"),
        host("d", 2, rack="r2"),
        host("e", 2, rack="r1"),
    )

    assert hosts_of(snapshot, Request(members=4), "packed") == ["b", "b", "d", "d"]
    assert hosts_of(snapshot, Request(members=8), "packed") == ["a", "a", "c", "c", "e", "e", "b", "b"]


def test_packed_takes_one_host_that_just_fits_before_a_smaller_rack() -> None:
    snapshot = cluster(
        host("a", 4, rack="r1"), host("b", 4, rack="r1"), host("c", 2, rack="r2"), host("d", 2, rack="r2")
    )

    assert hosts_of(snapshot, Request(members=4), "packed") == ["a"] * 4


def test_policies_break_ties_by_rack_and_name() -> None:
    alike = cluster(host("b", 2, rack="r1"), host("c", 2, rack="r1"), host("a", 2, rack="r2"))

    assert hosts_of(alike, Request(members=1), "packed") == ["b"]
    assert hosts_of(alike, Request(members=4), "packed") == ["b", "b", "c", "c"]
    assert hosts_of(alike, Request(members=2), "spread") == ["b", "c"]
    assert packed(rooms([2, 2, 2], rack=[0, 1, 2]), 3).tolist() == [2, 1, 0]
    assert packed(rooms([1, 1, 1, 1], rack=[0, 0, 1, 1]), 2).tolist() == [1, 1, 0, 0]


def test_packed_opens_a_device_only_when_the_shared_ones_are_full() -> None:
    assert packed(rooms([8, 2], tight=[0, 1]), 3).tolist() == [1, 2]
    assert packed(rooms([8, 0], tight=[0, 1]), 3).tolist() == [3, 0]


def test_spread_gives_every_host_one_before_any_gets_two() -> None:
    snapshot = cluster(host("a", 1), host("b", 4), host("c", 4))

    assert hosts_of(snapshot, Request(members=3), "spread") == ["a", "b", "c"]
    assert hosts_of(snapshot, Request(members=2), "spread") == ["b", "c"]
    assert hosts_of(snapshot, Request(members=6), "spread") == ["a", "b", "b", "b", "c", "c"]


def test_two_policies_open_different_devices() -> None:
    snapshot = cluster(host("a", 4, seats=None), host("b", 4, seats=None))

    assert hosts_of(snapshot, Request(members=2), "packed") != hosts_of(
        snapshot, Request(members=2), "spread"
    )


def test_an_unknown_policy_is_an_error() -> None:
    with pytest.raises(KeyError):
        assign(cluster(host("a", 1)), Request(members=1), "fastest")


@pytest.mark.parametrize("policy", sorted(POLICIES))
@LAW
@given(units=st.lists(st.integers(0, 5), max_size=8), tight=st.integers(0, 2), data=st.data())
def test_a_policy_takes_exactly_what_is_asked_and_never_more_than_there_is(
    policy: str, units: list[int], tight: int, data: st.DataObject
) -> None:
    def column(most: int) -> list[int]:
        return [data.draw(st.integers(0, most)) for _ in units]

    wanted = data.draw(st.integers(0, sum(units)))

    take = POLICIES[policy](rooms(units, column(tight), column(1)), wanted).tolist()

    assert sum(take) == wanted
    assert all(0 <= count <= room for room, count in zip(units, take, strict=True))


@LAW
@given(units=st.lists(st.integers(0, 5), max_size=6), data=st.data())
def test_packed_takes_no_more_hosts_than_needed_and_spread_no_more_of_one_than_needed(
    units: list[int], data: st.DataObject
) -> None:
    offered = rooms(units)
    wanted = data.draw(st.integers(0, sum(units)))

    fewest = next(n for n in range(len(units) + 1) if sum(sorted(units)[len(units) - n :]) >= wanted)
    lowest = next(level for level in range(6) if sum(min(count, level) for count in units) >= wanted)
    assert np.count_nonzero(packed(offered, wanted)) == fewest
    assert max(spread(offered, wanted).tolist(), default=0) == lowest
