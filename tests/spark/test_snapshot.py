"""What many tasks see becomes one snapshot: hosts, in them a pool per executor, with a seat per task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest

from tritium.assign import Assigned, Share, assign
from tritium.assign.shares import left_of
from tritium.assign.types import Request
from tritium.spark.inventory import TaskView, snapshot_of
from tritium_discovery import HostId, Settings, Uuid, discover, drain, holds

MACHINE = discover(Settings(machine="dgx-a100"))
UUIDS = tuple(device.uuid for device in MACHINE.devices)


def view(
    executor: str,
    pool: tuple[Uuid, ...],
    *,
    host: str = "a",
    held: Mapping[Uuid, tuple[holds.Holder, ...]] | None = None,
) -> TaskView:
    return TaskView(
        inventory=replace(MACHINE, host=HostId(host)),
        pool=pool,
        pool_name=executor,
        count=1,
        held=held or {},
        directory=Path("/nowhere"),
    )


def holder(
    what: str, *, drain_s: float | None = None, priority: int | None = None, mib: int | None = None
) -> holds.Holder:
    return holds.Holder(
        pid=0, user="alice", what=what, since=0.0, drain_s=drain_s, priority=priority, mib=mib
    )


def test_two_executors_on_one_host_are_two_pools_of_it() -> None:
    views = [view("executor 0", UUIDS[:4]), view("executor 1", UUIDS[4:]), view("executor 0", UUIDS[:4])]

    (host,) = snapshot_of(views).hosts

    assert [(pool.name, pool.seats) for pool in host.pools] == [("executor 0", 2), ("executor 1", 1)]
    assert [tuple(device.uuid for device in pool.devices) for pool in host.pools] == [UUIDS[:4], UUIDS[4:]]
    assert host.links == MACHINE.links


def test_executors_that_see_other_devices_are_other_hosts() -> None:
    snapshot = snapshot_of([view("executor 0", UUIDS, host="b"), view("executor 0", UUIDS, host="a")])

    assert [host.id for host in snapshot.hosts] == ["a", "b"]


def test_a_host_stands_in_the_rack_that_its_executors_are_told() -> None:
    told = discover(Settings.from_env({"TRITIUM_MACHINE": "dgx-a100", "TRITIUM_RACK": "rack-12"}))

    (host,) = snapshot_of([replace(view("driver", UUIDS), inventory=told)]).hosts

    assert host.rack == "rack-12"
    assert snapshot_of([view("driver", UUIDS)]).hosts[0].rack == ""


def test_views_taken_at_different_moments_agree_on_the_least() -> None:
    early = view("driver", UUIDS[:3], held={UUIDS[0]: (holder("task 1"),)})
    late = view("driver", UUIDS[1:4], held={UUIDS[1]: (holder("task 2"),)})

    (pool,) = snapshot_of([early, late]).hosts[0].pools

    assert [device.uuid for device in pool.devices] == [UUIDS[1], UUIDS[2]]
    assert pool.held == {UUIDS[0]: "task 1", UUIDS[1]: "task 2"}


def test_the_cpus_near_each_members_devices_are_named() -> None:
    decision = assign(snapshot_of([view("driver", UUIDS), view("driver", UUIDS)]), Request(members=2))

    assert isinstance(decision, Assigned)
    near = {device.uuid: device.cpus for device in MACHINE.devices}
    assert [member.cpus for member in decision.placement.members] == [
        near[member.devices[0]] for member in decision.placement.members
    ]
    assert all(member.cpus for member in decision.placement.members)


def test_every_task_computes_the_same_placement_whatever_the_order_of_views() -> None:
    views = [view("executor 0", UUIDS[:4]), view("executor 1", UUIDS[4:]), view("executor 1", UUIDS[4:])]

    decisions = [assign(snapshot_of(order), Request(members=3)) for order in permutations(views)]

    assert all(decision == decisions[0] for decision in decisions)
    assert isinstance(decisions[0], Assigned)


@pytest.mark.parametrize("executors", [1, 2])
def test_executors_without_isolation_may_see_the_same_devices_and_share_none(executors: int) -> None:
    views = [view(f"executor {number}", UUIDS) for number in range(executors) for _ in range(4)]

    decision = assign(snapshot_of(views), Request(members=4 * executors))

    assert isinstance(decision, Assigned)
    devices = [uuid for member in decision.placement.members for uuid in member.devices]
    assert len(set(devices)) == 4 * executors


def test_an_owner_that_gives_way_when_it_is_asked_has_a_share_of_all_of_its_device() -> None:
    held = {UUIDS[0]: (holder("owner of a model", drain_s=5.0, priority=2),), UUIDS[1]: (holder("rank 0"),)}

    (pool,) = snapshot_of([view("driver", UUIDS[:2], held=held)]).hosts[0].pools

    assert pool.held == {UUIDS[1]: "rank 0"}
    (share,) = pool.shares
    assert (share.device, share.owner, share.priority, share.drain_s) == (
        UUIDS[0],
        "owner of a model",
        2,
        5.0,
    )
    assert (share.mib, share.mib - share.used_mib) == (
        MACHINE.devices[0].memory_mib,
        MACHINE.devices[0].free_mib,
    )


def test_those_who_share_a_device_have_what_they_were_promised_and_what_is_used_is_theirs() -> None:
    used = replace(MACHINE.devices[0], free_mib=MACHINE.devices[0].memory_mib - 6_000)
    having = (
        holder("digits", mib=4_000, drain_s=5.0, priority=2),
        holder("faces", mib=8_000, drain_s=5.0),
        holder("about to load", mib=1_000),
    )
    shared = replace(
        view("driver", UUIDS[:1], held={UUIDS[0]: having}), inventory=replace(MACHINE, devices=(used,))
    )

    (pool,) = snapshot_of([shared]).hosts[0].pools

    assert not pool.held
    assert pool.shares == (
        Share(device=UUIDS[0], owner="digits", mib=4_000, used_mib=4_000, priority=2, drain_s=5.0),
        Share(device=UUIDS[0], owner="faces", mib=8_000, used_mib=2_000, priority=None, drain_s=5.0),
        Share(device=UUIDS[0], owner="about to load", mib=1_000, used_mib=0, priority=None),
    )
    assert left_of(used, pool.shares) == used.memory_mib - 13_000


def test_who_shares_a_device_in_any_view_counts_once() -> None:
    digits, faces = holder("digits", mib=4_000, drain_s=5.0), holder("faces", mib=8_000, drain_s=5.0)
    views = [view("driver", UUIDS[:1], held={UUIDS[0]: having}) for having in ((digits, faces), (digits,))]

    (pool,) = snapshot_of([*views, view("driver", UUIDS[:1])]).hosts[0].pools

    assert sorted(share.owner for share in pool.shares) == ["digits", "faces"]


PROMISED = {UUIDS[0]: "nobody, but promised to gang train-1"}


@pytest.mark.parametrize(("priority", "held"), [(0, PROMISED), (1, {}), (2, {})])
def test_what_was_given_up_for_somebody_is_held_for_who_is_less_important(
    priority: int, held: Mapping[Uuid, str]
) -> None:
    ask = drain.Ask(by="gang train-1", deadline=0.0, priority=1)
    promised = replace(view("driver", UUIDS[:1]), promised={UUIDS[0]: ask})

    (pool,) = snapshot_of([promised], priority=priority).hosts[0].pools

    assert pool.held == held
