"""Small clusters in words, and every snapshot that hypothesis can think of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from hypothesis import settings
from hypothesis import strategies as st

from tritium.assign import Host, Pool, Share, Snapshot
from tritium_discovery.device import Device, HostId, Link, LinkKind, Uuid

LAW = settings(max_examples=40, deadline=None)
"""Enough examples for laws that every policy must keep; the machine may be busy."""

DGX_1V_LANES = {
    (0, 1): 1, (0, 2): 1, (0, 3): 2, (0, 4): 2, (1, 2): 2, (1, 3): 1, (1, 5): 2, (2, 3): 2,
    (2, 6): 1, (3, 7): 1, (4, 5): 1, (4, 6): 1, (4, 7): 2, (5, 6): 2, (5, 7): 1, (6, 7): 2,
}  # fmt: skip
"""The hybrid cube mesh of eight V100: NVLinks between each pair of devices."""


def device(
    name: str,
    *,
    number: int = 0,
    memory_mib: int = 40_960,
    product: str = "NVIDIA A100-SXM4-40GB",
    capability: tuple[int, int] = (8, 0),
    numa_node: int | None = None,
    cpus: str = "",
    mig_profile: str | None = None,
    free_mib: int | None = None,
    troubles: tuple[str, ...] = (),
) -> Device:
    return Device(
        uuid=Uuid(name),
        address=number,
        pci_bus_id=f"00000000:{number:02X}:00.0",
        product=product,
        memory_mib=memory_mib,
        free_mib=memory_mib if free_mib is None else free_mib,
        capability=capability,
        numa_node=numa_node,
        cpus=cpus,
        mig_profile=mig_profile,
        troubles=troubles,
    )


def links(names: Sequence[str], lanes: Mapping[tuple[int, int], int]) -> dict[tuple[Uuid, Uuid], Link]:
    """NVLinks between some of the devices."""
    return {
        (Uuid(min(names[a], names[b])), Uuid(max(names[a], names[b]))): Link(
            kind=LinkKind.NVLINK, lanes=count
        )
        for (a, b), count in lanes.items()
    }


def host(name: str, devices: int = 0, *, seats: int | None = None, held: Mapping[str, str] | None = None,
         lanes: Mapping[tuple[int, int], int] | None = None, rack: str = "", memory_mib: int = 40_960,
         pools: Sequence[Pool] | None = None, shares: tuple[Share, ...] = (),
         numa: int | None = None, cpus: Mapping[int | None, str] | None = None) -> Host:  # fmt: skip
    """A host with one pool ``executor`` of devices ``name-0`` ..., or with the given pools."""
    names = [f"{name}-{number}" for number in range(devices)]
    nodes = [None if numa is None else number // numa for number in range(devices)]
    mine = tuple(
        device(uuid, number=number, memory_mib=memory_mib, numa_node=node, cpus=(cpus or {}).get(node, ""))
        for number, (uuid, node) in enumerate(zip(names, nodes, strict=True))
    )
    one = Pool(
        name="executor",
        devices=mine,
        seats=seats,
        held={Uuid(uuid): holder for uuid, holder in (held or {}).items()},
        shares=shares,
    )
    return Host(
        id=HostId(name),
        pools=(one,) if pools is None else tuple(pools),
        links=links(names, lanes or {}),
        rack=rack,
    )


def pool(name: str, devices: Sequence[Device], *, seats: int | None = None) -> Pool:
    return Pool(name=name, devices=tuple(devices), seats=seats)


def cluster(*hosts: Host) -> Snapshot:
    return Snapshot(hosts=hosts)


def all_lanes(devices: int, lanes: int = 12) -> dict[tuple[int, int], int]:
    """Every pair joined alike, as an NVSwitch does."""
    return dict.fromkeys(combinations(range(devices), 2), lanes)


@st.composite
def hosts(
    draw: st.DrawFn, number: int, *, most: int = 8, seated: bool = False, isolated: bool = True
) -> Host:
    """A host with up to three pools of odd devices on odd links, some ill, some held.

    Pools that are not ``isolated`` all list all devices.
    """
    count = draw(st.integers(0, most))
    names = [f"gpu-{number}-{position}" for position in range(count)]
    devices = [
        device(
            name,
            number=position,
            memory_mib=draw(st.sampled_from([16_384, 40_960])),
            product=draw(st.sampled_from(["NVIDIA A100-SXM4-40GB", "Tesla T4"])),
            numa_node=(node := draw(st.sampled_from([None, 0, 1]))),
            cpus={0: "0-31", 1: "32-63"}.get(node or 0, "") if node is not None else "",
            troubles=draw(st.sampled_from([(), (), (), ("row remapping failed",)])),
        )
        for position, name in enumerate(names)
    ]
    links = {
        (Uuid(one), Uuid(two)): draw(
            st.sampled_from(
                [
                    Link(kind=LinkKind.SYS),
                    Link(kind=LinkKind.PIX),
                    Link(kind=LinkKind.NVLINK, lanes=2),
                    Link(kind=LinkKind.NVLINK, lanes=12),
                ]
            )
        )
        for one, two in combinations(names, 2)
    }
    pools = draw(st.integers(1, 3))
    owner = [draw(st.integers(0, pools - 1)) for _ in devices]
    return Host(
        id=HostId(f"host-{number}"),
        rack=draw(st.sampled_from(["", "rack-1", "rack-2"])),
        links=links,
        pools=tuple(
            Pool(
                name=f"executor {pool}",
                devices=tuple(d for d, o in zip(devices, owner, strict=True) if o == pool or not isolated),
                held={
                    d.uuid: "gang a" for d, o in zip(devices, owner, strict=True) if o == pool and draw(_HELD)
                },
                seats=draw(st.integers(0, 3)) if seated else None,
            )
            for pool in range(pools)
        ),
    )


_HELD = st.sampled_from([False, False, False, True])


@st.composite
def snapshots(draw: st.DrawFn, *, most: int = 8, seated: bool = False, isolated: bool = True) -> Snapshot:
    """Up to four hosts."""
    count = draw(st.integers(0, 4))
    each = [draw(hosts(number, most=most, seated=seated, isolated=isolated)) for number in range(count)]
    return Snapshot(hosts=tuple(each))
