"""Decides what one rank is told: its numbers, its devices and the environment of its process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tritium.assign.types import Member, Placement
from tritium.train.book import Book
from tritium_discovery import Device, HostId, Uuid

__all__ = ["STALE", "Attempt", "Contract", "Peer", "base_environment", "common_environment", "contract_of"]

STALE = (
    "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE",
    "NODE_RANK", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_WORLD_SIZE", "MASTER_ADDR",
    "MASTER_PORT", "TF_CONFIG", "OMP_NUM_THREADS",
)  # fmt: skip
"""Variables that an earlier user of the same Python worker may have left; no rank may inherit them."""

_STALE_PREFIXES = ("TORCHELASTIC_", "HOROVOD_", "DMLC_", "OMPI_", "PMI_", "PYTHON_WORKER_FACTORY_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What all ranks of one attempt share, and what outlives them."""

    gang: str
    """Unique id of the gang, e.g. ``train-5f0c2a``."""
    number: int = 0
    """0 at first, one more each time the gang is tried again."""
    output: Path | None = None
    """Where rank 0 puts the files that become the model."""
    checkpoints: str | None = None
    """Path or URL of the gang's checkpoints."""
    book: Book = field(default_factory=Book)
    """Those that were there when the attempt began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Where one rank of the gang is."""

    rank: int
    local_rank: int
    group_rank: int
    host: HostId
    """Its locality, e.g. ``node-7/3fd2a1``."""
    address: str
    """Under which the other ranks reach its host, e.g. ``10.0.0.7``."""
    devices: tuple[Uuid, ...]
    shard: int
    """Number of its shard of the data: the task's partition, not the rank."""
    rows: int
    """Rows of that shard; 0 for a gang without data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """All that one rank needs to know, the same for every framework."""

    attempt: Attempt
    rank: int
    size: int
    local_rank: int
    local_size: int
    group_rank: int
    groups: int
    """Localities of the gang."""
    devices: tuple[Device, ...]
    """The rank's own, in link order."""
    visible: tuple[Uuid, ...]
    """The gang's devices of this locality: first each local rank's first device, in local-rank order, so
    that ``set_device(LOCAL_RANK)`` is right whatever the number of devices per rank; then the others."""
    master: tuple[str, int]
    """Address of the socket that rank 0 holds."""
    threads: int
    """CPU threads the rank may use."""
    has_data: bool
    peers: tuple[Peer, ...]
    """Every rank of the gang, this one too, by rank."""

    @property
    def me(self) -> Peer:
        """This rank among its peers."""
        return self.peers[self.rank]

    @property
    def lender(self) -> Peer | None:
        """Whose rows the ranks with empty shards fill their batches with; ``None`` where no shard is empty.

        It is found by its shard, so that another attempt, where ranks sit elsewhere, finds the same rows.
        """
        filled = [peer for peer in self.peers if peer.rows]
        if not filled or len(filled) == self.size:
            return None
        return min(filled, key=lambda peer: peer.shard)

    @property
    def mark(self) -> str:
        """What every process of this rank carries in its environment, e.g. ``train-5f0c2a.0/3``."""
        return f"{self.attempt.gang}.{self.attempt.number}/{self.rank}"


def contract_of(
    placement: Placement,
    member: Member,
    *,
    attempt: Attempt,
    devices: Mapping[Uuid, Device],
    tasks: Sequence[int],
    rows: Sequence[int] | None,
    addresses: Sequence[tuple[str, int]],
    cpus: int,
) -> Contract:
    """State one member's contract.

    ``tasks``, ``rows`` and ``addresses`` (of the sockets that tasks hold) are by rank, ``cpus`` are those
    of its host.
    """
    members = placement.members
    local = sorted((m for m in members if m.host == member.host), key=lambda m: m.local_rank)
    first = [uuid for m in local for uuid in m.devices[:1]]
    rest = [uuid for m in local for uuid in m.devices[1:]]
    return Contract(
        attempt=attempt,
        rank=member.rank,
        size=len(members),
        local_rank=member.local_rank,
        local_size=len(local),
        group_rank=member.group_rank,
        groups=len({m.host for m in members}),
        devices=tuple(devices[uuid] for uuid in member.devices),
        visible=tuple(first + rest),
        master=addresses[0],
        threads=max(1, cpus // len(local)),
        has_data=rows is not None,
        peers=tuple(
            Peer(
                rank=peer.rank,
                local_rank=peer.local_rank,
                group_rank=peer.group_rank,
                host=peer.host,
                address=host,
                devices=peer.devices,
                shard=tasks[peer.rank],
                rows=rows[peer.rank] if rows is not None else 0,
            )
            for peer, (host, _) in zip(members, addresses, strict=True)
        ),
    )


def base_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Drop from an executor's environment what an earlier task or a Python worker left in it.

    >>> base_environment({"HOME": "/h", "CUDA_VISIBLE_DEVICES": "", "HOROVOD_RANK": "3"})
    {'HOME': '/h'}
    """
    return {k: v for k, v in environ.items() if k not in STALE and not k.startswith(_STALE_PREFIXES)}


def common_environment(contract: Contract) -> dict[str, str]:
    """Name the variables that every rank gets, whatever its framework.

    ``TRITIUM_GANG`` is also the mark by which all processes of a rank are found again.
    """
    return {
        "TRITIUM_GANG": contract.mark,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "OMP_NUM_THREADS": str(contract.threads),
        "PYTHONUNBUFFERED": "1",
    }
