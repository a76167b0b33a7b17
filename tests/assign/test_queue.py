"""Several requests at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assign.clusters import LAW, cluster, host, snapshots
from tritium.assign import POLICIES, Assigned, Index, Request, Snapshot, assign
from tritium.assign.queue import ORDERS, assign_all


def placed(snapshot: Snapshot | Index, **requests: Request) -> list[str]:
    decisions = assign_all(snapshot, requests)
    assert decisions.keys() == requests.keys()
    return sorted(name for name, decision in decisions.items() if isinstance(decision, Assigned))


def test_the_higher_priority_is_placed_first() -> None:
    low, high = Request(members=2), Request(members=1, priority=1)

    assert placed(cluster(host("a", 2)), low=low, high=high) == ["high"]


def test_of_one_priority_the_larger_is_placed_first() -> None:
    small, large = Request(members=1), Request(members=2)

    assert placed(cluster(host("a", 2)), a=small, b=large) == ["b"]


def test_of_equal_requests_the_first_name_is_placed() -> None:
    one = Request(members=1)

    assert placed(Index.of(cluster(host("a", 1))), b=one, a=one, c=one) == ["a"]


def test_shares_are_placed_after_whole_devices_the_larger_first() -> None:
    def replicas(mib: int) -> Request:
        return Request(members=1, kind="replicas", share_mib=mib)

    assert placed(cluster(host("a", 1)), a=replicas(30_000), b=Request(members=1)) == ["b"]
    assert placed(cluster(host("a", 1)), a=replicas(20_000), b=replicas(30_000)) == ["b"]


def test_requests_never_get_the_same_device() -> None:
    decisions = assign_all(cluster(host("a", 4)), {"a": Request(members=2), "b": Request(members=2)})

    given_ = [
        uuid
        for decision in decisions.values()
        if isinstance(decision, Assigned)
        for member in decision.placement.members
        for uuid in member.devices
    ]
    assert sorted(given_) == ["a-0", "a-1", "a-2", "a-3"]


def test_an_order_that_places_more_is_found() -> None:
    """The larger first takes the large cards that the smaller needs; the smaller first leaves enough."""
    snapshot = cluster(host("a", 2, memory_mib=80_000), host("b", 2), host("c", 1))
    picky = Request(members=2, group=2, min_memory_mib=60_000)

    assert placed(snapshot, picky=picky, wide=Request(members=3)) == ["picky", "wide"]


def test_an_order_that_places_more_counts_also_if_it_is_the_last_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tritium.assign.queue.ORDERS", 2)

    test_an_order_that_places_more_is_found()


def test_more_of_the_higher_priority_counts_before_more_in_all() -> None:
    requests = {"big": Request(members=2, priority=1), "x": Request(members=1), "y": Request(members=1)}

    assert placed(cluster(host("a", 2)), **requests) == ["big"]


def test_the_search_is_bounded() -> None:
    requests = {f"r{n}": Request(members=1 + n % 3) for n in range(12)}

    assert ORDERS == 8
    assert len(placed(cluster(host("a", 3), host("b", 4)), **requests)) >= 3


@pytest.mark.parametrize("policy", sorted(POLICIES))
@LAW
@given(
    snapshot=snapshots(),
    sizes=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 2), st.integers(0, 1)), max_size=5),
)
def test_no_priority_gets_less_because_of_a_lower_one(
    policy: str, snapshot: Snapshot, sizes: list[tuple[int, int, int]]
) -> None:
    requests = {
        f"r{n}": Request(members=m, devices_each=each, priority=p) for n, (m, each, p) in enumerate(sizes)
    }

    decisions = assign_all(snapshot, requests, policy)

    high = {name: request for name, request in requests.items() if request.priority == 1}
    alone = assign_all(snapshot, high, policy)
    assert sum(isinstance(d, Assigned) for d in alone.values()) <= sum(
        isinstance(decisions[name], Assigned) for name in high
    )
    given_ = [
        uuid
        for decision in decisions.values()
        if isinstance(decision, Assigned)
        for member in decision.placement.members
        for uuid in member.devices
    ]
    assert len(given_) == len(set(given_))
    if len(requests) == 1:
        assert decisions["r0"] == assign(snapshot, requests["r0"], policy)
