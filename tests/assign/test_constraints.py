"""What requests may require or wish for: of devices, of devices together, of groups apart."""

from __future__ import annotations

import math
from typing import Any

import pytest

from assign.clusters import all_lanes, cluster, device, host, links, pool
from tritium.assign import (
    Assigned,
    BadRequest,
    Constraints,
    Host,
    Member,
    Request,
    Snapshot,
    Unassignable,
    assign,
)
from tritium_discovery.device import HostId


def placed(snapshot: Snapshot, request: Request, policy: str = "packed") -> tuple[Member, ...]:
    decision = assign(snapshot, request, policy)
    assert isinstance(decision, Assigned), decision
    return tuple(decision.placement.members)


def refused(snapshot: Snapshot, request: Request, policy: str = "packed") -> list[str]:
    decision = assign(snapshot, request, policy)
    assert isinstance(decision, Unassignable), decision
    return [f"{reason.rule}: {reason.sentence}" for reason in decision.reasons]


def mixed() -> Host:
    """A host with a T4, an A100 and a slice of another A100."""
    return Host(
        id=HostId("mixed"),
        pools=(
            pool(
                "",
                [
                    device("t4", number=0, product="Tesla T4", memory_mib=15_360, capability=(7, 5)),
                    device("a100", number=1),
                    device("mig", number=2, memory_mib=4_864, mig_profile="1g.5gb"),
                ],
            ),
        ),
    )


@pytest.mark.parametrize(
    ("asked", "want"),
    [
        ({"product": "T4"}, "t4"),
        ({"min_memory_mib": 15_361}, "a100"),
        ({"min_memory_mib": 15_360}, "t4"),
        ({"min_capability": (7, 6)}, "a100"),
        ({"min_capability": (7, 5), "min_memory_mib": 15_000}, "t4"),
        ({"mig_profile": "1g.5gb"}, "mig"),
    ],
)
def test_a_device_must_meet_every_requirement(asked: dict[str, Any], want: str) -> None:
    [member] = placed(cluster(mixed()), Request(members=1, **asked))

    assert member.devices == (want,)


def test_each_lack_is_told_with_its_numbers() -> None:
    asked = Request(members=1, product="A100", min_memory_mib=80_000, min_capability=(8, 0))

    assert refused(cluster(mixed()), asked) == [
        "memory: a100: 40960 MiB, 80000 needed",
        "memory: mig: 4864 MiB, 80000 needed",
        "count: 1 member with 1 device (A100, 80000 MiB, compute capability 8.0), room for 0 (mixed 0)",
        "product: t4: a Tesla T4, A100 needed",
    ]


def test_a_capability_and_a_profile_that_are_missing_are_told() -> None:
    assert refused(cluster(mixed()), Request(members=1, min_capability=(9, 0)))[1:] == [
        "capability: a100, mig: compute capability 8.0, 9.0 needed",
        "capability: t4: compute capability 7.5, 9.0 needed",
    ]
    assert refused(cluster(mixed()), Request(members=1, mig_profile="3g.20gb"))[1:] == [
        "mig: mig: 1g.5gb, MIG profile 3g.20gb needed",
        "mig: t4, a100: not a MIG instance, MIG profile 3g.20gb needed",
    ]


def test_a_gang_never_spans_mig_instances_but_replicas_may() -> None:
    slices = [device(f"mig-{n}", number=n, mig_profile="1g.5gb") for n in range(2)]
    snapshot = cluster(host("a", pools=[pool("", slices)]))

    assert refused(snapshot, Request(members=2))[1:] == [
        "mig: mig-0, mig-1: MIG instance 1g.5gb: NCCL cannot join instances to a gang"
    ]
    assert refused(snapshot, Request(members=1, devices_each=2))[1:] == [
        "mig: mig-0, mig-1: MIG instance 1g.5gb: NCCL cannot join instances to a gang"
    ]
    assert len(placed(snapshot, Request(members=2, kind="replicas"))) == 2
    assert len(placed(snapshot, Request(members=1))) == 1


def test_an_ill_device_is_never_given_and_its_trouble_is_told() -> None:
    snapshot = cluster(host("a", pools=[pool("", [device("x", troubles=("fell off the bus", "Xid 79"))])]))

    assert refused(snapshot, Request(members=1))[1:] == ["health: x: fell off the bus; Xid 79"]


def test_many_devices_with_one_lack_share_a_sentence() -> None:
    sentences = refused(cluster(host("a", 5)), Request(members=1, product="H100"))

    assert sentences[1] == "product: a-0, a-1, a-2 and 2 more: a NVIDIA A100-SXM4-40GB, H100 needed"
    assert refused(cluster(host("a", 3)), Request(members=1, product="H100"))[1] == (
        "product: a-0, a-1, a-2: a NVIDIA A100-SXM4-40GB, H100 needed"
    )


def test_the_hosts_with_most_room_are_named_first() -> None:
    assert refused(cluster(host("a", 1), host("b", 3), host("c", 2)), Request(members=7)) == [
        "count: 7 members with 1 device each, room for 6 (b 3, c 2, a 1)"
    ]


def bridged() -> Host:
    """Four devices: 0 and 3 by NVLink, 1 and 2 by NVLink."""
    return host("a", 4, lanes={(0, 3): 4, (1, 2): 4})


def test_a_group_may_require_a_net_of_nvlinks() -> None:
    members = placed(cluster(bridged()), Request(members=4, group=2, near="nvlink"))

    assert [m.devices for m in members] == [("a-0",), ("a-3",), ("a-1",), ("a-2",)]


def test_a_net_too_small_for_a_group_refuses_it() -> None:
    assert refused(cluster(bridged()), Request(members=3, group=3, near="nvlink")) == [
        "count: 3 members with 1 device each in groups of 3 on one nvlink, room for 0 (a 0)"
    ]


def test_a_member_of_several_devices_may_require_one_net() -> None:
    [member] = placed(cluster(bridged()), Request(members=1, devices_each=2, near="nvlink"))

    assert member.devices == ("a-1", "a-2")


def test_a_group_shares_a_host_without_asking() -> None:
    snapshot = cluster(host("a", 3), host("b", 3), host("c", 2))

    members = placed(snapshot, Request(members=6, group=2))

    assert [m.host for m in members] == ["a", "a", "b", "b", "c", "c"]
    assert refused(snapshot, Request(members=8, group=2)) == [
        "count: 8 members with 1 device each in groups of 2 on one host, room for 6 (a 2, b 2, c 2)"
    ]


def test_a_group_may_span_executors_of_its_host() -> None:
    snapshot = cluster(
        host("a", pools=[pool("1", [device("x", number=0)]), pool("2", [device("y", number=1)])])
    )

    members = placed(snapshot, Request(members=2, group=2))

    assert [(m.pool, m.devices) for m in members] == [("1", ("x",)), ("2", ("y",))]


def test_groups_on_seats_must_come_out_even() -> None:
    snapshot = cluster(host("a", 4, seats=3), host("b", 4, seats=1))

    asked = "4 members with 1 device each in groups of 2 on one host"
    assert refused(snapshot, Request(members=4, group=2)) == [
        f"seats: Spark started {seats} here: {asked}, 4 usable devices" for seats in ("3 tasks", "1 task")
    ]


def test_groups_apart_share_no_host() -> None:
    snapshot = cluster(host("a", 8), host("b", 8))

    members = placed(snapshot, Request(members=4, group=2, apart="host"))

    assert [m.host for m in members] == ["a", "a", "b", "b"]
    assert refused(snapshot, Request(members=3, apart="host")) == [
        "count: 3 members with 1 device each, no two groups on one host, room for 2 (a 1, b 1)"
    ]


def test_groups_apart_share_no_rack() -> None:
    snapshot = cluster(host("a", 8, rack="r1"), host("b", 8, rack="r1"), host("c", 8, rack="r2"))

    members = placed(snapshot, Request(members=2, apart="rack"))

    assert [m.host for m in members] == ["a", "c"]
    two_in_one = cluster(host("a", 3, rack="r1"), host("b", 2, rack="r1"), host("c", 2, rack="r2"))
    assert [m.host for m in placed(two_in_one, Request(members=2, apart="rack"))] == ["b", "c"]
    small = cluster(host("a", 1, rack="r1"), host("b", 1, rack="r2"))
    assert [m.host for m in placed(small, Request(members=2, apart="rack"))] == ["a", "b"]
    assert refused(snapshot, Request(members=3, apart="rack"))[0].startswith("count: 3 members")


def test_seats_that_put_groups_together_that_must_be_apart_are_refused() -> None:
    two_hosts = cluster(host("a", 2, seats=1, rack="r"), host("b", 2, seats=1, rack="r"))

    assert len(placed(two_hosts, Request(members=2, apart="host"))) == 2
    assert refused(two_hosts, Request(members=2, apart="rack")) == [
        "apart: Spark's tasks put two groups on one rack"
    ]
    uneven = cluster(host("a", 2, seats=1), host("b", 2, seats=2))
    assert refused(uneven, Request(members=3, apart="host")) == [
        "apart: Spark's tasks put two groups on one host"
    ]
    assert refused(cluster(host("a", 2, seats=2)), Request(members=2, apart="host")) == [
        "apart: Spark's tasks put two groups on one host"
    ]


def test_wishes_are_kept_while_they_can_be_had_and_given_up_last_first() -> None:
    snapshot = cluster(host("a", 2), bridged_host("b"))
    fast, big, new = (
        Constraints(near="nvlink"),
        Constraints(min_memory_mib=80_000),
        Constraints(product="A100"),
    )

    decision = assign(snapshot, Request(members=2, group=2, prefer=(fast, new, big)))

    assert isinstance(decision, Assigned)
    assert {m.host for m in decision.placement.members} == {"b"}
    assert decision.given_up == (big,)
    assert decision.placement.members[0].devices == ("b-1",)


def bridged_host(name: str) -> Host:
    return host(name, 4, lanes={(0, 3): 4, (1, 2): 4})


def test_a_wish_never_stands_in_the_way() -> None:
    decision = assign(cluster(host("a", 2)), Request(members=2, prefer=(Constraints(apart="host"),)))

    assert isinstance(decision, Assigned)
    assert decision.given_up == (Constraints(apart="host"),)
    assert refused(cluster(host("a", 2)), Request(members=3, prefer=(Constraints(apart="host"),))) == [
        "count: 3 members with 1 device each, room for 2 (a 2)"
    ]


def test_wishes_can_ask_for_more_than_the_requirement_never_for_less() -> None:
    snapshot = cluster(bridged_host("a"))

    members = placed(
        snapshot,
        Request(members=2, group=2, near="nvlink", apart="rack", prefer=(Constraints(apart="host"),)),
    )

    assert [m.devices for m in members] == [("a-1",), ("a-2",)]


def test_a_wish_for_less_leaves_the_requirement_as_it_is() -> None:
    wish = Constraints(near="host", product="A100")
    asked = Request(members=3, group=3, near="nvlink", prefer=(wish,))
    decision = assign(cluster(bridged_host("a"), host("b", 3, lanes={(0, 1): 1, (1, 2): 1})), asked)

    assert isinstance(decision, Assigned)
    assert {m.host for m in decision.placement.members} == {"b"}
    assert refused(cluster(bridged_host("a")), asked)[0].startswith("count: 3 members")


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"members": 0}, "members is 0, at least 1 needed"),
        ({"members": 1, "devices_each": -1}, "devices_each is -1, at least 0 needed"),
        ({"members": 1, "share_mib": -1}, "share_mib is -1, at least 0 needed"),
        ({"members": 1, "min_memory_mib": -1}, "min_memory_mib is -1, at least 0 needed"),
        ({"members": 1, "product": ""}, "product is empty; leave it out where any will do"),
        ({"members": 1, "drain_s": math.nan}, "drain_s is nan, seconds needed"),
        ({"members": 1, "drain_s": math.inf}, "drain_s is inf, seconds needed"),
        ({"members": 1, "drain_s": -0.1}, "drain_s is -0.1, seconds needed"),
        ({"members": 1, "group": 0}, "group is 0, at least 1 needed"),
        ({"members": 3, "group": 2}, "3 members do not divide into groups of 2"),
        ({"members": 1, "share_mib": 1}, "a gang never shares devices: NCCL needs whole ones"),
        (
            {"members": 2, "kind": "replicas", "share_mib": 1, "devices_each": 2},
            "a share is of one device, and shares form no groups",
        ),
        (
            {"members": 2, "kind": "replicas", "share_mib": 1, "group": 2},
            "a share is of one device, and shares form no groups",
        ),
    ],
)
def test_a_request_that_contradicts_itself_is_refused_at_once(asked: dict[str, Any], problem: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        Request(**asked)

    assert refusal.value.problems == (problem,)
    assert str(refusal.value) == problem


def test_the_smallest_requests_are_fine() -> None:
    Request(members=1, devices_each=0, drain_s=0.0)
    Request(members=1, kind="replicas", share_mib=1)


def test_cpus_near_the_devices_are_named() -> None:
    snapshot = cluster(host("a", 4, numa=2, cpus={0: "0-15", 1: "16-31"}))

    assert [m.cpus for m in placed(snapshot, Request(members=4))] == ["0-15", "0-15", "16-31", "16-31"]
    assert [m.cpus for m in placed(snapshot, Request(members=1, devices_each=4))] == ["0-15,16-31"]
    assert [m.cpus for m in placed(cluster(host("a", 1, numa=2)), Request(members=1))] == [""]
    assert [m.cpus for m in placed(cluster(host("a", 1)), Request(members=1))] == [""]


def test_a_host_with_more_devices_than_can_be_tried_is_filled_all_the_same() -> None:
    slices = [device(f"mig-{n:02}", number=n // 7, mig_profile="1g.5gb") for n in range(56)]
    snapshot = cluster(host("a", pools=[pool("1", slices[:30]), pool("2", slices[30:])]))

    members = placed(snapshot, Request(members=56, kind="replicas"))

    assert len({m.devices for m in members}) == 56


def test_groups_on_a_large_host_keep_to_their_nets_and_seats() -> None:
    lanes = {pair: 2 for start in (0, 8, 16) for pair in all_lanes(8)}
    lanes = {(a + start, b + start): 2 for start in (0, 8, 16) for a, b in all_lanes(8)}
    devices = [device(f"g-{n:02}", number=n) for n in range(24)]
    names = [d.uuid for d in devices]
    big = Host(
        id=HostId("big"),
        pools=(pool("1", devices[:12], seats=8), pool("2", devices[12:])),
        links=links(names, lanes),
    )

    members = placed(Snapshot(hosts=(big,)), Request(members=12, group=4, near="nvlink"))

    for start in range(0, 12, 4):
        nets = {int(m.devices[0][2:]) // 8 for m in members[start : start + 4]}
        assert len(nets) == 1
    assert [m.pool for m in members].count("1") == 8
