"""``spread`` inside a host: members on NUMA nodes of their own, each member's devices together."""

from __future__ import annotations

from itertools import combinations
from typing import Literal

import pytest

from assign.clusters import host
from tritium.assign import Assigned, Host, Pool, Request, Snapshot, assign
from tritium_discovery import HostId, Inventory, Settings, Uuid, discover


def dgx() -> Inventory:
    return discover(Settings(machine="dgx-a100"))


def snapshot(*pools: tuple[range, int | None]) -> Snapshot:
    inventory = dgx()
    return Snapshot(
        hosts=(
            Host(
                id=HostId("dgx"),
                pools=tuple(
                    Pool(
                        name=f"executor {number}",
                        devices=tuple(inventory.devices[position] for position in part),
                        seats=seats,
                    )
                    for number, (part, seats) in enumerate(pools)
                ),
                links=inventory.links,
            ),
        )
    )


def numa_nodes(policy: str, request: Request, *pools: tuple[range, int | None]) -> list[set[int | None]]:
    nodes = {device.uuid: device.numa_node for device in dgx().devices}
    decision = assign(snapshot(*pools), request, policy)
    assert isinstance(decision, Assigned)
    return [{nodes[uuid] for uuid in member.devices} for member in decision.placement.members]


def test_two_policies_give_the_seats_of_one_executor_other_devices() -> None:
    (packed, spread) = (
        {Uuid(uuid) for member in decision.placement.members for uuid in member.devices}
        for policy in ("packed", "spread")
        if isinstance(decision := assign(snapshot((range(4), 2)), Request(members=2), policy), Assigned)
    )

    assert packed != spread


def test_spread_puts_members_on_numa_nodes_of_their_own() -> None:
    nodes = numa_nodes("spread", Request(members=4), (range(8), None))

    assert all(not one & two for one, two in combinations(nodes, 2))


def test_packed_puts_members_side_by_side() -> None:
    assert len(set.union(*numa_nodes("packed", Request(members=2), (range(8), None)))) == 1


@pytest.mark.parametrize(("policy", "second"), [("packed", ("a-2", "a-3")), ("spread", ("a-4", "a-5"))])
def test_a_spread_members_own_devices_stay_together(policy: str, second: tuple[str, str]) -> None:
    four_by_node = Snapshot(hosts=(host("a", 8, numa=4),))

    decision = assign(four_by_node, Request(members=2, devices_each=2), policy)

    assert isinstance(decision, Assigned)
    assert [member.devices for member in decision.placement.members] == [("a-0", "a-1"), second]


@pytest.mark.parametrize("seats", [(4, 0), (3, 1), (2, 2), (1, 3), (0, 4)])
def test_spread_keeps_to_the_seats_that_spark_chose(seats: tuple[int, int]) -> None:
    one, two = seats

    decision = assign(snapshot((range(4), one), (range(4, 8), two)), Request(members=4), "spread")

    assert isinstance(decision, Assigned)
    assert [member.pool for member in decision.placement.members].count("executor 0") == one


@pytest.mark.parametrize("near", ["host", "nvlink"])
def test_groups_stay_together_even_when_they_are_spread(near: Literal["host", "nvlink"]) -> None:
    request = Request(members=4, group=2, near=near)

    packed, spread = (assign(snapshot((range(8), None)), request, policy) for policy in ("packed", "spread"))

    assert packed == spread
