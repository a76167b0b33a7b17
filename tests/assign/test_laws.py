"""What holds for every policy, whatever the cluster looks like."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assign import clusters
from assign.clusters import LAW, device, snapshots
from tritium.assign import POLICIES, Assigned, Constraints, Pool, Request, Snapshot, assign
from tritium_discovery.device import Uuid

every_policy = pytest.mark.parametrize("policy", sorted(POLICIES))

requests = st.builds(
    Request,
    members=st.integers(1, 8),
    devices_each=st.integers(0, 3),
    min_memory_mib=st.sampled_from([0, 20_000]),
    product=st.sampled_from([None, None, "A100"]),
)
grouped = st.builds(
    Request,
    members=st.sampled_from([2, 4, 6, 8]),
    devices_each=st.integers(1, 2),
    group=st.sampled_from([1, 2]),
    near=st.sampled_from(["host", "switch", "nvlink"]),
    apart=st.sampled_from([None, None, "host", "rack"]),
    prefer=st.sampled_from([(), (Constraints(product="T4"),), (Constraints(near="nvlink"),)]),
)


def usable(pool: Pool, request: Request) -> set[Uuid]:
    """The devices of a pool that a request may get."""
    return {
        device.uuid
        for device in pool.devices
        if device.healthy
        and device.memory_mib >= request.min_memory_mib
        and (request.product or "") in device.product
        and device.uuid not in pool.held
    }


@every_policy
@LAW
@given(
    snapshot=st.one_of(snapshots(), snapshots(isolated=False), snapshots(seated=True, isolated=False)),
    request=st.one_of(requests, grouped),
)
def test_count_is_exact_and_no_device_is_given_twice(
    policy: str, snapshot: Snapshot, request: Request
) -> None:
    decision = assign(snapshot, request, policy)

    if isinstance(decision, Assigned):
        members = decision.placement.members
        given = [uuid for member in members for uuid in member.devices]
        assert [member.rank for member in members] == list(range(request.members))
        assert all(len(member.devices) == request.devices_each for member in members)
        assert len(set(given)) == len(given)


@every_policy
@LAW
@given(snapshot=snapshots(), request=st.one_of(requests, grouped))
def test_every_device_given_is_free_healthy_and_suitable(
    policy: str, snapshot: Snapshot, request: Request
) -> None:
    decision = assign(snapshot, request, policy)

    if isinstance(decision, Assigned):
        for member in decision.placement.members:
            [host] = [host for host in snapshot.hosts if host.id == member.host]
            [own] = [pool for pool in host.pools if pool.name == member.pool]
            assert set(member.devices) <= usable(own, request)


@every_policy
@LAW
@given(snapshot=snapshots(), request=requests)
def test_a_request_with_enough_room_is_never_refused(
    policy: str, snapshot: Snapshot, request: Request
) -> None:
    room = 0
    for host in snapshot.hosts:
        for pool in host.pools:
            found = len(usable(pool, request))
            room += found // request.devices_each if request.devices_each else request.members

    decision = assign(snapshot, request, policy)

    assert isinstance(decision, Assigned) == (room >= request.members)


@every_policy
@LAW
@given(snapshot=snapshots(seated=True), request=requests)
def test_seats_are_taken_exactly(policy: str, snapshot: Snapshot, request: Request) -> None:
    decision = assign(snapshot, request, policy)

    if isinstance(decision, Assigned):
        for host in snapshot.hosts:
            for pool in host.pools:
                here = [m for m in decision.placement.members if (m.host, m.pool) == (host.id, pool.name)]
                assert len(here) == pool.seats


@every_policy
@LAW
@given(
    products=st.lists(st.sampled_from(["A100", "T4"]), min_size=2, max_size=8),
    seats=st.lists(st.integers(0, 2), min_size=2, max_size=3).filter(any),
    each=st.integers(1, 2),
    own=st.integers(0, 2),
)
def test_executors_that_list_the_same_devices_lack_some_only_where_there_are_too_few(
    policy: str, products: list[str], seats: list[int], each: int, own: int
) -> None:
    devices = [device(f"gpu-{n}", number=n, product=product) for n, product in enumerate(products)]
    alone = [device(f"own-{n}", number=8 + n, product="A100") for n in range(own)]
    pools = [
        clusters.pool(str(n), devices + (alone if n == 0 else []), seats=count)
        for n, count in enumerate(seats)
    ]
    request = Request(members=sum(seats), devices_each=each, product="A100")

    decision = assign(clusters.cluster(clusters.host("a", pools=pools)), request, policy)

    others_lack = max(0, seats[0] * each - own) + sum(seats[1:]) * each
    assert isinstance(decision, Assigned) == (products.count("A100") >= others_lack)


@every_policy
@LAW
@given(snapshot=snapshots(), request=requests)
def test_ranks_are_host_major_and_counted_truly(policy: str, snapshot: Snapshot, request: Request) -> None:
    decision = assign(snapshot, request, policy)

    if isinstance(decision, Assigned):
        runs = [list(run) for _, run in groupby(decision.placement.members, key=lambda member: member.host)]
        assert len({run[0].host for run in runs}) == len(runs)
        for group_rank, run in enumerate(runs):
            assert [member.local_rank for member in run] == list(range(len(run)))
            assert {member.group_rank for member in run} == {group_rank}
            assert [member.pool for member in run] == sorted(member.pool for member in run)


@every_policy
@LAW
@given(
    snapshot=st.one_of(snapshots(), snapshots(isolated=False)),
    request=st.one_of(requests, grouped),
    dice=st.randoms(use_true_random=False),
)
def test_the_order_of_the_snapshot_never_matters(
    policy: str, snapshot: Snapshot, request: Request, dice: random.Random
) -> None:
    def shuffled(things: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(dice.sample(things, len(things)))

    mixed = Snapshot(
        hosts=tuple(
            replace(
                host,
                pools=shuffled(tuple(replace(pool, devices=shuffled(pool.devices)) for pool in host.pools)),
            )
            for host in shuffled(snapshot.hosts)
        )
    )

    assert assign(mixed, request, policy) == assign(snapshot, request, policy)


@every_policy
@LAW
@given(
    snapshot=st.one_of(snapshots(), snapshots(isolated=False), snapshots(seated=True, isolated=False)),
    request=requests,
    number=st.integers(0, 3),
    data=st.data(),
)
def test_one_more_healthy_device_never_hurts(
    policy: str, snapshot: Snapshot, request: Request, number: int, data: st.DataObject
) -> None:
    if not isinstance(assign(snapshot, request, policy), Assigned):
        return
    host = data.draw(st.sampled_from(snapshot.hosts))
    alone = data.draw(st.sampled_from([None, *host.pools]))
    product = data.draw(st.sampled_from(["NVIDIA A100-SXM4-40GB", "Tesla T4"]))
    new = device("new", number=number, product=product)
    pools = tuple(
        replace(pool, devices=(*pool.devices, new)) if alone in (None, pool) else pool for pool in host.pools
    )
    richer_host = replace(host, pools=pools)
    richer = Snapshot(hosts=tuple(richer_host if h is host else h for h in snapshot.hosts))

    assert isinstance(assign(richer, request, policy), Assigned)
