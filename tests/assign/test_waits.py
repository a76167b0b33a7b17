"""Never, or not now: what a request waits for, and who is asked to give way."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assign.clusters import LAW, cluster, host, snapshots
from tritium.assign import (
    POLICIES,
    Assigned,
    Host,
    Index,
    Request,
    Share,
    Snapshot,
    Unassignable,
    Waiting,
    assign,
    drain_for,
)
from tritium.assign.place import fits
from tritium.assign.waits import _by_closeness, _first, _Later
from tritium_discovery.device import Uuid


def share(
    uuid: str, *, priority: int | None = 0, drain_s: float | None = 5.0, mib: int = 1_024, owner: str = ""
) -> Share:
    return Share(
        device=Uuid(uuid), owner=owner or f"model on {uuid}", mib=mib, priority=priority, drain_s=drain_s
    )


def waits(snapshot: Snapshot, request: Request) -> list[str]:
    decision = assign(snapshot, request)
    assert isinstance(decision, Waiting), decision
    return [f"{wait.device} on {wait.host} held by {wait.holder}" for wait in decision.waits_for]


def test_a_request_that_fits_an_idle_cluster_waits_for_those_who_hold_it() -> None:
    snapshot = cluster(host("a", 2, held={"a-1": "rank 0 of gang 7c1e (pid 4711)"}))

    assert waits(snapshot, Request(members=2)) == ["a-1 on a held by rank 0 of gang 7c1e (pid 4711)"]


def test_a_request_too_large_for_an_idle_cluster_can_never_fit() -> None:
    decision = assign(cluster(host("a", 2, held={"a-1": "gang 1"})), Request(members=3))

    assert isinstance(decision, Unassignable)
    assert [reason.rule for reason in decision.reasons] == ["held", "count"]


def test_the_wait_is_for_no_more_than_needed_on_the_hosts_that_come_closest() -> None:
    busy = {f"a-{n}": f"job {n}" for n in range(8)}
    nearly = {f"b-{n}": f"job b{n}" for n in range(3)}
    snapshot = cluster(host("a", 8, held=busy), host("b", 4, held=nearly), host("c", 2))

    assert waits(snapshot, Request(members=4, group=4)) == [
        "b-0 on b held by job b0",
        "b-1 on b held by job b1",
        "b-2 on b held by job b2",
    ]
    assert waits(snapshot, Request(members=4)) == ["b-0 on b held by job b0"]


def test_holders_that_do_not_help_are_not_waited_for() -> None:
    small = host("a", 3, held={"a-0": "gang 1"}, memory_mib=1_000)
    large = host("b", 1, held={"b-0": "gang 2"})

    assert waits(cluster(small, large), Request(members=1, min_memory_mib=2_000)) == [
        "b-0 on b held by gang 2"
    ]


def test_a_long_list_of_holders_is_told_as_it_was_found() -> None:
    busy = [host(f"h{n}", 8, held={f"h{n}-{k}": f"job {k}" for k in range(8)}) for n in range(5)]

    assert len(waits(cluster(*busy), Request(members=33))) == 33
    assert len(waits(cluster(*busy), Request(members=32))) == 32


def test_up_to_32_holders_are_told_without_a_needless_one() -> None:
    small = host("a", 3, held={"a-0": "gang 1"}, memory_mib=1_000)  # the first to be looked at, and no help
    busy = [host(f"h{n}", 8, held={f"h{n}-{k}": f"job {k}" for k in range(8)}) for n in range(4)]
    snapshot = cluster(small, *busy)

    assert len(waits(snapshot, Request(members=31, min_memory_mib=2_000))) == 31
    assert len(waits(snapshot, Request(members=32, min_memory_mib=2_000))) == 33


def test_a_device_that_is_given_back_has_all_of_its_memory() -> None:
    snapshot = cluster(_measured(host("a", 1, held={"a-0": "gang 1"}), 10))

    assert waits(snapshot, Request(members=1, kind="replicas", share_mib=20_000)) == [
        "a-0 on a held by gang 1"
    ]


def test_a_device_whose_shares_drain_has_no_more_memory_than_it_has() -> None:
    used = replace(share("a-0", mib=30_000), used_mib=30_000)
    snapshot = cluster(_measured(host("a", 1, shares=(used,)), 30_000))

    assert drain_for(snapshot, Request(members=1, kind="replicas", share_mib=50_000, priority=1)) is None


def test_a_share_that_drains_gives_back_what_it_used_and_no_more() -> None:
    used = replace(share("a-0", mib=30_000), used_mib=10_000)
    snapshot = cluster(_measured(host("a", 1, shares=(used,)), 5_000))

    assert drain_for(snapshot, Request(members=1, kind="replicas", share_mib=20_000, priority=1)) is None


def test_shares_are_waited_for_too() -> None:
    snapshot = cluster(host("a", 1, shares=(share("a-0", owner="m1"), share("a-0", owner="m2"))))

    assert waits(snapshot, Request(members=1)) == ["a-0 on a held by m1", "a-0 on a held by m2"]


@pytest.mark.parametrize("policy", sorted(POLICIES))
@LAW
@given(snapshot=snapshots(), members=st.integers(1, 12), each=st.integers(1, 3))
def test_a_wait_is_told_exactly_if_the_idle_cluster_has_room_and_none_of_it_is_needless(
    policy: str, snapshot: Snapshot, members: int, each: int
) -> None:
    request = Request(members=members, devices_each=each)
    decision = assign(snapshot, request, policy)

    if isinstance(decision, Unassignable):
        assert not isinstance(assign(_without(snapshot, None), request, policy), Assigned)
    if isinstance(decision, Waiting):
        given_back = {wait.device for wait in decision.waits_for}
        assert isinstance(assign(_without(snapshot, given_back), request, policy), Assigned)
        for kept in given_back:
            assert not isinstance(assign(_without(snapshot, given_back - {kept}), request, policy), Assigned)


@LAW
@given(snapshot=snapshots(seated=True), data=st.data())
def test_what_is_free_when_holdings_are_given_back_is_what_it_is_in_that_snapshot(
    snapshot: Snapshot, data: st.DataObject
) -> None:
    index = Index.of(snapshot)
    everybody = _by_closeness(index)
    back = data.draw(st.lists(st.sampled_from(everybody), unique=True)) if everybody else []

    quick = _Later(index, Request(members=1), everybody).without(back)

    slow = _Later(index, Request(members=1, kind="replicas", share_mib=1), everybody).without(back)
    assert not any(entry.shared for entry in index.entries)
    assert slow == Index.of(_without(snapshot, {Uuid(held.device) for held in back}))
    assert [quick.buckets[at] for at in quick.bucket_of] == [slow.buckets[at] for at in slow.bucket_of]


@LAW
@given(snapshot=snapshots(seated=True, isolated=False), data=st.data())
def test_where_pools_list_the_same_devices_they_are_dealt_anew(
    snapshot: Snapshot, data: st.DataObject
) -> None:
    index = Index.of(snapshot)
    everybody = _by_closeness(index)
    back = data.draw(st.lists(st.sampled_from(everybody), unique=True)) if everybody else []

    later = _Later(index, Request(members=1), everybody).without(back)

    again = Index.of(_without(snapshot, {Uuid(held.device) for held in back}))
    assert [later.buckets[at] for at in later.bucket_of] == [again.buckets[at] for at in again.bucket_of]
    if any(entry.shared for entry in index.entries):
        assert later == again


def test_a_device_of_two_holders_is_free_when_both_have_given_it_back() -> None:
    twice = host("a", 2, shares=(share("a-0", owner="m1"), share("a-0", owner="m2"), share("a-1")))
    index = Index.of(cluster(twice))
    first, second, _ = everybody = _by_closeness(index)
    later = _Later(index, Request(members=1), everybody)

    assert not fits(later.without([first]), Request(members=1), POLICIES["packed"])
    assert fits(later.without([first, second]), Request(members=1), POLICIES["packed"])


def test_a_holding_of_a_device_that_nobody_lists_frees_none() -> None:
    one = host("a", 1, held={"a-0": "gang 1", "ghost": "gang 2"})
    index = Index.of(cluster(one))
    mine, ghost = everybody = _by_closeness(index)
    later = _Later(index, Request(members=1), everybody)

    assert not fits(later.without([ghost]), Request(members=1), POLICIES["packed"])
    assert fits(later.without([mine]), Request(members=1), POLICIES["packed"])


@given(least=st.integers(0, 30), first=st.integers(0, 60), most=st.integers(0, 60))
def test_the_first_that_is_enough_is_found_wherever_it_is(least: int, first: int, most: int) -> None:
    least, first, most = sorted((least, first, most))
    asked = []

    def enough(count: int) -> bool:
        asked.append(count)
        return count >= first

    assert _first(enough, least, most) == first
    assert max(asked) <= min(most, max(least, 2 * first))


def _without(snapshot: Snapshot, given_back: set[Uuid] | None) -> Snapshot:
    return Snapshot(
        hosts=tuple(
            replace(
                h,
                pools=tuple(
                    replace(
                        p,
                        held={
                            u: o for u, o in p.held.items() if given_back is not None and u not in given_back
                        },
                    )
                    for p in h.pools
                ),
            )
            for h in snapshot.hosts
        )
    )


def test_training_asks_the_least_important_shares_to_drain_and_no_more_than_needed() -> None:
    snapshot = cluster(
        host(
            "a",
            4,
            held={"a-3": "gang 1"},
            shares=(
                share("a-0", priority=2, drain_s=1),
                share("a-1", priority=1, drain_s=30),
                share("a-2", priority=0),
            ),
        )
    )

    drain = drain_for(snapshot, Request(members=2, priority=5))

    assert drain is not None
    assert [s.device for s in drain.shares] == ["a-2", "a-1"]
    assert drain.within_s == 30
    assert [m.devices for m in drain.placement.members] == [("a-1",), ("a-2",)]


def test_a_share_of_the_same_priority_is_not_asked() -> None:
    snapshot = cluster(host("a", 1, shares=(share("a-0", priority=1),)))

    assert drain_for(snapshot, Request(members=1, priority=1)) is None
    assert drain_for(snapshot, Request(members=1, priority=2)) is not None


def test_a_share_that_nobody_uses_is_asked_first_and_by_anybody() -> None:
    snapshot = cluster(host("a", 2, shares=(share("a-0", priority=-9), share("a-1", priority=None))))

    first = drain_for(snapshot, Request(members=1, priority=1))
    anybody = drain_for(snapshot, Request(members=1, priority=-99))

    assert first is not None
    assert first == anybody
    assert [s.device for s in first.shares] == ["a-1"]


def test_a_share_that_never_drains_is_not_asked() -> None:
    snapshot = cluster(host("a", 1, shares=(share("a-0", drain_s=None),)))

    assert drain_for(snapshot, Request(members=1, priority=1)) is None


def test_nobody_is_asked_where_asking_does_not_help_or_is_not_needed() -> None:
    shared = (share("a-0"),)

    assert (
        drain_for(cluster(host("a", 2, held={"a-1": "x"}, shares=shared)), Request(members=2, priority=1))
        is None
    )
    assert drain_for(cluster(host("a", 2, shares=shared)), Request(members=1, priority=1)) is None
    assert drain_for(cluster(), Request(members=1)) is None


def test_all_owners_of_a_device_are_asked() -> None:
    snapshot = Index.of(cluster(host("a", 1, shares=(share("a-0", owner="m1"), share("a-0", owner="m2")))))

    drain = drain_for(snapshot, Request(members=1, priority=1))

    assert drain is not None
    assert [s.owner for s in drain.shares] == ["m1", "m2"]


def test_of_one_owners_shares_the_smaller_is_named_first() -> None:
    both = (share("a-0", owner="m", mib=5), share("a-0", owner="m", mib=3))
    snapshot = cluster(host("a", 1, shares=both))

    drain = drain_for(snapshot, Request(members=1, priority=1))

    assert drain is not None
    assert [s.mib for s in drain.shares] == [3, 5]
    assert waits(snapshot, Request(members=1)) == ["a-0 on a held by m"] * 2


def test_a_more_important_replica_gets_the_memory_that_others_used() -> None:
    used = replace(share("a-0", mib=30_000), used_mib=30_000)
    snapshot = cluster(host("a", 1, shares=(used,)))
    snapshot = Snapshot(hosts=tuple(_measured(h, 10_960) for h in snapshot.hosts))
    request = Request(members=1, kind="replicas", share_mib=20_000, priority=1)

    drain = drain_for(snapshot, request)

    assert drain is not None
    assert [m.devices for m in drain.placement.members] == [("a-0",)]


def _measured(one: Host, free_mib: int) -> Host:
    [only] = one.pools
    return replace(
        one, pools=(replace(only, devices=tuple(replace(d, free_mib=free_mib) for d in only.devices)),)
    )
