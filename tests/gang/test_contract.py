"""What a rank is told: numbers, devices, environment."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tritium.assign.types import Member, Placement
from tritium.train.contract import STALE, Attempt, Contract, base_environment, common_environment, contract_of
from tritium.train.frameworks import FRAMEWORKS
from tritium_discovery import Device, HostId, Uuid


def device(uuid: str) -> Device:
    return Device(
        uuid=Uuid(uuid),
        address=0,
        pci_bus_id="00000000:07:00.0",
        product="A100",
        memory_mib=40960,
        free_mib=40960,
        capability=(8, 0),
    )


def placement(hosts: int, local: int, each: int) -> Placement:
    return Placement(
        members=tuple(
            Member(
                rank=host * local + seat,
                local_rank=seat,
                group_rank=host,
                host=HostId(f"node-{host}"),
                pool="executor 0",
                devices=tuple(Uuid(f"GPU-{host}-{seat}-{number}") for number in range(each)),
            )
            for host in range(hosts)
            for seat in range(local)
        )
    )


def contracts(placed: Placement, *, cpus: int = 8, rows: list[int] | None = None) -> list[Contract]:
    devices = {uuid: device(uuid) for member in placed.members for uuid in member.devices}
    return [
        contract_of(
            placed,
            member,
            attempt=Attempt(gang="train-1"),
            devices=devices,
            tasks=[5 - member.rank for member in placed.members],
            rows=rows,
            addresses=[("10.0.0.1", 4711 + member.rank) for member in placed.members],
            cpus=cpus,
        )
        for member in placed.members
    ]


class FakeCuda:
    """What the driver does with CUDA_VISIBLE_DEVICES, and torch.cuda with set_device."""

    def __init__(self, environment: dict[str, str]) -> None:
        visible = environment["CUDA_VISIBLE_DEVICES"]
        self.visible = visible.split(",") if visible else []
        self.current = ""

    def set_device(self, ordinal: int) -> None:
        self.current = self.visible[ordinal]


@given(hosts=st.integers(1, 3), local=st.integers(1, 4), each=st.integers(1, 4))
def test_set_device_of_local_rank_picks_a_device_of_ones_own(hosts: int, local: int, each: int) -> None:
    opened = []
    for contract in contracts(placement(hosts, local, each)):
        environment = dict(FRAMEWORKS["torch"](contract))
        cuda = FakeCuda(environment)

        cuda.set_device(int(environment["LOCAL_RANK"]))

        own = [device.uuid for device in contract.devices]
        assert cuda.current == own[0]
        assert set(own) <= set(cuda.visible)
        assert len(cuda.visible) == local * each
        opened.append(cuda.current)
    assert len(set(opened)) == hosts * local


def test_a_rank_on_the_cpu_sees_no_device_at_all() -> None:
    (contract, _) = contracts(placement(1, 2, 0))

    assert FRAMEWORKS["torch"](contract)["CUDA_VISIBLE_DEVICES"] == ""


def test_the_torch_environment_is_torchruns() -> None:
    contract = contracts(placement(2, 2, 1))[2]

    assert FRAMEWORKS["torch"](contract) == {
        "RANK": "2",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "1",
        "NODE_RANK": "1",
        "GROUP_WORLD_SIZE": "2",
        "ROLE_RANK": "2",
        "ROLE_WORLD_SIZE": "4",
        "MASTER_ADDR": "10.0.0.1",
        "MASTER_PORT": "4711",
        "TORCHELASTIC_RUN_ID": "train-1-0",
        "CUDA_VISIBLE_DEVICES": "GPU-1-0-0,GPU-1-1-0",
    }


def test_cpus_of_a_host_are_shared_by_its_ranks() -> None:
    assert common_environment(contracts(placement(1, 3, 1), cpus=8)[0])["OMP_NUM_THREADS"] == "2"
    assert common_environment(contracts(placement(1, 4, 1), cpus=2)[0])["OMP_NUM_THREADS"] == "1"


def test_a_shard_is_keyed_by_its_task_and_not_by_the_rank() -> None:
    assert [contract.me.shard for contract in contracts(placement(1, 3, 1))] == [5, 4, 3]


def test_nothing_that_an_earlier_task_set_reaches_a_rank() -> None:
    stale = dict.fromkeys(STALE, "old") | {"HOROVOD_RANK": "1", "DMLC_ROLE": "worker", "PMI_RANK": "0"}

    assert base_environment({**stale, "HOME": "/home/ada"}) == {"HOME": "/home/ada"}


def test_every_rank_knows_every_other() -> None:
    for contract in contracts(placement(2, 2, 1)):
        assert [peer.rank for peer in contract.peers] == [0, 1, 2, 3]
        assert [(peer.group_rank, peer.local_rank) for peer in contract.peers] == [
            (0, 0),
            (0, 1),
            (1, 0),
            (1, 1),
        ]
        assert contract.me.devices == tuple(device.uuid for device in contract.devices)
        assert {peer.address for peer in contract.peers} == {"10.0.0.1"}


def test_empty_shards_are_filled_from_the_first_that_is_not_whichever_rank_has_it() -> None:
    def lender(rows: list[int] | None) -> int | None:
        found = {contract.lender for contract in contracts(placement(1, 3, 1), rows=rows)}
        assert len(found) == 1, "every rank must name the same"
        peer = found.pop()
        return peer.shard if peer is not None else None

    assert lender([5, 5, 5]) is None
    assert lender([0, 0, 0]) is None
    assert lender(None) is None
    assert lender([0, 5, 5]) == 3  # ranks 0, 1, 2 have shards 5, 4, 3 here
    assert lender([5, 5, 0]) == 4
