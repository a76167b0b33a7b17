"""Where Spark has started tasks, the assigner takes exactly those seats."""

from __future__ import annotations

import pytest

from assign.clusters import cluster, device, host, pool
from tritium.assign import Assigned, Member, Request, Snapshot, Unassignable, assign


def members(snapshot: Snapshot, request: Request, policy: str = "packed") -> tuple[Member, ...]:
    decision = assign(snapshot, request, policy)
    assert isinstance(decision, Assigned), decision
    return tuple(decision.placement.members)


def test_each_executor_takes_as_many_ranks_as_spark_started_tasks_there() -> None:
    snapshot = cluster(host("a", 4, seats=1), host("b", 4, seats=2))

    placed = members(snapshot, Request(members=3))

    assert [(m.rank, m.host, m.local_rank, m.group_rank) for m in placed] == [
        (0, "a", 0, 0),
        (1, "b", 0, 1),
        (2, "b", 1, 1),
    ]


def test_local_ranks_count_across_the_executors_of_a_host() -> None:
    snapshot = cluster(
        host("a", pools=[pool("2", [device("y", number=1)], seats=1), pool("1", [device("x")], seats=1)])
    )

    placed = members(snapshot, Request(members=2))

    assert [(m.local_rank, m.group_rank, m.pool, m.devices) for m in placed] == [
        (0, 0, "1", ("x",)),
        (1, 0, "2", ("y",)),
    ]


def test_executors_that_see_the_same_devices_get_different_ones() -> None:
    shared = [device(f"gpu-{n}", number=n) for n in range(4)]
    snapshot = cluster(host("a", pools=[pool("1", shared, seats=1), pool("2", shared, seats=1)]))

    placed = members(snapshot, Request(members=2, devices_each=2))

    assert [m.devices for m in placed] == [("gpu-0", "gpu-1"), ("gpu-2", "gpu-3")]


def test_seats_decide_how_shared_devices_are_dealt() -> None:
    shared = [device(f"gpu-{n}", number=n) for n in range(4)]
    snapshot = cluster(host("a", pools=[pool("1", shared, seats=3), pool("2", shared, seats=1)]))

    placed = members(snapshot, Request(members=4))

    assert [m.pool for m in placed] == ["1", "1", "1", "2"]


def test_ranks_without_devices_sit_where_spark_started_them() -> None:
    snapshot = cluster(
        host("a", pools=[pool("1", [], seats=2), pool("2", [], seats=1)]), host("b", 0, seats=1)
    )

    placed = members(snapshot, Request(members=4, devices_each=0))

    assert [(m.rank, m.host, m.pool, m.devices) for m in placed] == [
        (0, "a", "1", ()),
        (1, "a", "1", ()),
        (2, "a", "2", ()),
        (3, "b", "executor", ()),
    ]


def test_ranks_without_devices_fit_anywhere_if_nobody_seated_them() -> None:
    placed = members(cluster(host("b", 0), host("a", 2)), Request(members=3, devices_each=0), "spread")

    assert [(m.host, m.local_rank) for m in placed] == [("a", 0), ("a", 1), ("b", 0)]


def test_ranks_without_devices_go_nowhere_but_on_seats_where_there_are_seats() -> None:
    decision = assign(cluster(host("a", 2, seats=1)), Request(members=2, devices_each=0))

    assert isinstance(decision, Unassignable)
    assert [reason.sentence for reason in decision.reasons] == [
        "2 members with 0 devices each, room for 1 (a 1)"
    ]


def test_seats_for_which_an_executor_lacks_devices_are_named() -> None:
    decision = assign(cluster(host("a", 1, seats=2), host("b", 4, seats=0)), Request(members=2))

    assert isinstance(decision, Unassignable)
    assert [reason.sentence for reason in decision.reasons] == [
        "Spark started 2 tasks here: 2 members with 1 device each, 1 usable device"
    ]


def test_seats_whose_devices_are_only_too_far_apart_lack_none() -> None:
    snapshot = cluster(host("a", 6, seats=2, lanes={(0, 1): 4}))

    decision = assign(snapshot, Request(members=2, devices_each=2, near="nvlink"))

    assert isinstance(decision, Unassignable)
    assert [(reason.rule, reason.short) for reason in decision.reasons] == [("seats", 0.0)]


@pytest.mark.parametrize(("devices", "seats", "short"), [(1, 1, 0.5), (2, 2, 0.5), (1, 2, 0.75)])
def test_seats_are_short_by_the_part_of_their_devices_that_is_missing(
    devices: int, seats: int, short: float
) -> None:
    decision = assign(cluster(host("a", devices, seats=seats)), Request(members=2, devices_each=2))

    assert isinstance(decision, Unassignable)
    assert decision.reasons[0].short == short


def test_a_seat_without_its_group_is_refused_even_where_no_devices_are_asked() -> None:
    decision = assign(cluster(host("a", 0, seats=1)), Request(members=2, devices_each=0, group=2))

    assert isinstance(decision, Unassignable)
    assert decision.reasons[-1].sentence.startswith("Spark started 1 task here: 2 members with 0 ")


def test_more_seats_than_members_are_refused_with_both_numbers() -> None:
    decision = assign(cluster(host("a", 4, seats=3)), Request(members=2))

    assert isinstance(decision, Unassignable)
    assert [reason.sentence for reason in decision.reasons] == [
        "2 members asked, but Spark started 3 tasks for them"
    ]


def test_members_beyond_the_seats_go_where_nobody_is_seated() -> None:
    snapshot = cluster(host("a", 4, seats=1), host("b", 4))

    placed = members(snapshot, Request(members=3))

    assert [m.host for m in placed] == ["a", "b", "b"]


def test_each_executor_that_lacks_devices_is_named_with_its_own_numbers() -> None:
    devices = [device(f"g-{n}", number=n) for n in range(3)]
    snapshot = cluster(
        host("a", pools=[pool("1", devices[:2], seats=1), pool("2", devices[2:], seats=2)]),
    )

    decision = assign(snapshot, Request(members=3))

    assert isinstance(decision, Unassignable)
    assert [str(reason) for reason in decision.reasons if reason.rule == "seats"] == [
        "a 2: Spark started 2 tasks here: 3 members with 1 device each, 1 usable device"
    ]


def test_only_pools_with_tasks_can_have_too_few_devices_for_them() -> None:
    few, none = pool("executor 0", [device("a-0")], seats=2), pool("executor 1", [])

    decision = assign(cluster(host("a", pools=[few, none])), Request(members=2))

    assert isinstance(decision, Unassignable)
    assert [str(reason) for reason in decision.reasons if reason.rule == "seats"] == [
        "a executor 0: Spark started 2 tasks here: 2 members with 1 device each, 1 usable device"
    ]
