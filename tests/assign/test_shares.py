"""Replicas share devices by memory promised."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assign.clusters import LAW, cluster, device, host, pool, snapshots
from tritium.assign import (
    POLICIES,
    Assigned,
    Host,
    Pool,
    Request,
    Share,
    Snapshot,
    Unassignable,
    Waiting,
    assign,
)
from tritium.assign.shares import left_of
from tritium_discovery.device import HostId, Uuid


def replicas(members: int, share_mib: int) -> Request:
    return Request(members=members, kind="replicas", share_mib=share_mib)


def share(uuid: str, mib: int, owner: str = "digits", used_mib: int = 0) -> Share:
    return Share(device=Uuid(uuid), owner=owner, mib=mib, used_mib=used_mib)


def devices_of(snapshot: Snapshot, request: Request, policy: str = "packed") -> list[str]:
    decision = assign(snapshot, request, policy)
    assert isinstance(decision, Assigned), decision
    return [uuid for member in decision.placement.members for uuid in member.devices]


@pytest.mark.parametrize("policy", sorted(POLICIES))
@LAW
@given(snapshot=snapshots(), members=st.integers(1, 12), gib=st.integers(1, 20), data=st.data())
def test_shares_never_exceed_what_a_device_has_left(
    policy: str, snapshot: Snapshot, members: int, gib: int, data: st.DataObject
) -> None:
    sharing = Snapshot(
        hosts=tuple(
            replace(
                h, pools=tuple(_shared(p, data.draw(st.sampled_from([0, 4_096, 39_000]))) for p in h.pools)
            )
            for h in snapshot.hosts
        )
    )

    decision = assign(sharing, replicas(members, gib * 1024), policy)

    left = {
        d.uuid: left_of(d, [s for s in p.shares if s.device == d.uuid])
        if d.healthy and d.uuid not in p.held
        else 0
        for h in sharing.hosts
        for p in h.pools
        for d in p.devices
    }
    room = sum(mib // (gib * 1024) for mib in left.values())
    assert isinstance(decision, Assigned) == (room >= members)
    if isinstance(decision, Assigned):
        given_mib = Counter(u for m in decision.placement.members for u in m.devices)
        assert len(decision.placement.members) == members
        assert all(count * gib * 1024 <= left[uuid] for uuid, count in given_mib.items())


def _shared(pool_: Pool, mib: int) -> Pool:
    mine = (share(pool_.devices[0].uuid, mib),) if pool_.devices and mib else ()
    return replace(pool_, shares=mine)


def test_packed_fills_one_device_before_the_next() -> None:
    assert devices_of(cluster(host("a", 2)), replicas(3, 16_384)) == ["a-0", "a-0", "a-1"]


def test_spread_gives_each_device_one_first() -> None:
    assert devices_of(cluster(host("a", 2), host("b", 1)), replicas(3, 10_240), "spread") == [
        "a-0", "a-1", "b-0",
    ]  # fmt: skip


def test_packed_leaves_whole_devices_whole_while_shared_ones_have_room() -> None:
    snapshot = cluster(host("a", 3, shares=(share("a-2", 30_000),)))

    assert devices_of(snapshot, replicas(2, 5_000)) == ["a-2", "a-2"]
    assert devices_of(snapshot, replicas(3, 5_000)) == ["a-0", "a-2", "a-2"]


def test_packed_prefers_a_host_whose_shared_devices_suffice() -> None:
    snapshot = cluster(host("a", 1), host("b", 2, shares=(share("b-1", 30_000),)))

    assert devices_of(snapshot, replicas(2, 5_000)) == ["b-1", "b-1"]
    assert devices_of(snapshot, replicas(3, 5_000)) == ["a-0", "a-0", "a-0"]


def test_what_is_promised_counts_before_it_is_used() -> None:
    one = device("x", free_mib=30_000)

    assert left_of(one, []) == 30_000
    assert left_of(one, [share("x", 20_000, used_mib=5_000)]) == 15_000
    assert left_of(one, [share("x", 20_000, used_mib=25_000)]) == 30_000
    assert left_of(one, [share("x", 40_000)]) == 0


def test_a_shared_device_is_given_to_nobody_whole() -> None:
    decision = assign(cluster(host("a", 1, shares=(share("a-0", 1_024),))), Request(members=1))

    assert isinstance(decision, Waiting)
    assert [r.sentence for r in decision.reasons if r.rule == "held"] == ["a-0: held by digits (1024 MiB)"]


def test_a_device_held_whole_is_never_shared() -> None:
    decision = assign(cluster(host("a", 1, held={"a-0": "gang 1"})), replicas(1, 1))

    assert isinstance(decision, Waiting)
    assert [r.sentence for r in decision.reasons if r.rule == "held"] == ["a-0: held by gang 1"]


def test_a_share_that_does_not_fit_now_is_told_with_what_is_left_and_besides_whom() -> None:
    decision = assign(cluster(host("a", 1, shares=(share("a-0", 40_000),))), replicas(1, 2_048))

    assert isinstance(decision, Waiting)
    assert [r.sentence for r in decision.reasons] == [
        "a-0: 960 MiB left besides digits (40000 MiB), 2048 needed",
        "1 member with a share of 2048 MiB, room for 0 (a 0)",
    ]


def test_a_device_with_just_enough_left_for_one_share_lacks_nothing() -> None:
    decision = assign(cluster(host("a", 1, shares=(share("a-0", 38_912),))), replicas(2, 2_048))

    assert isinstance(decision, Waiting)
    assert [r.rule for r in decision.reasons] == ["count"]


def test_seats_may_fill_their_executors_devices_to_the_last() -> None:
    full = pool("1", [device("x")], seats=4)

    assert devices_of(cluster(host("a", pools=[full])), replicas(4, 10_240)) == ["x"] * 4


def test_a_share_larger_than_any_device_can_never_fit() -> None:
    decision = assign(cluster(host("a", 1)), replicas(1, 50_000))

    assert isinstance(decision, Unassignable)
    assert [r.rule for r in decision.reasons] == ["memory", "count"]


def test_memory_taken_by_nobody_known_is_not_given_away() -> None:
    snapshot = cluster(host("a", pools=[pool("", [device("x", free_mib=1_000)])]))

    decision = assign(snapshot, replicas(1, 2_048))

    assert isinstance(decision, Unassignable)
    assert decision.reasons[0].sentence == "x: 1000 MiB left, 2048 needed"


def test_replicas_on_seats_share_the_devices_of_their_own_executor() -> None:
    one = pool("1", [device("x", number=0)], seats=3)
    two = pool("2", [device("y", number=1)], seats=1)

    assert devices_of(cluster(host("a", pools=[two, one])), replicas(4, 10_240)) == ["x", "x", "x", "y"]
    assert isinstance(assign(cluster(host("a", pools=[two, one])), replicas(4, 20_480)), Unassignable)


def test_replicas_beyond_the_seats_go_to_the_other_executors() -> None:
    one = pool("1", [device("x", number=0)], seats=1)
    two = pool("2", [device("y", number=1)])

    assert devices_of(cluster(host("a", pools=[two, one])), replicas(3, 10_240)) == ["x", "y", "y"]


def test_replicas_apart_share_no_host() -> None:
    request = replace(replicas(2, 1_024), apart="host")

    assert devices_of(cluster(host("a", 2), host("b", 2)), request) == ["a-0", "b-0"]


def test_the_cpus_near_a_share_are_named() -> None:
    decision = assign(cluster(host("a", 2, numa=1, cpus={0: "0-3", 1: "4-7"})), replicas(8, 10_240))

    assert isinstance(decision, Assigned)
    assert [m.cpus for m in decision.placement.members] == ["0-3"] * 4 + ["4-7"] * 4


def test_a_host_is_named_by_its_id_even_if_empty() -> None:
    assert isinstance(assign(Snapshot(hosts=(Host(id=HostId("a"), pools=()),)), replicas(1, 1)), Unassignable)
