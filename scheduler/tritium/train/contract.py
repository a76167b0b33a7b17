"""Decides what one rank is told: its numbers, its devices and the environment of its process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tritium.assign.types import Member, Placement
from tritium_discovery import Device, Uuid

__all__ = ["STALE", "Contract", "base_environment", "common_environment", "contract_of"]

STALE = (
    "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE",
    "NODE_RANK", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_WORLD_SIZE", "MASTER_ADDR",
    "MASTER_PORT", "TF_CONFIG", "OMP_NUM_THREADS",
)  # fmt: skip
"""Variables that an earlier user of the same Python worker may have left; no rank may inherit them."""

_STALE_PREFIXES = ("TORCHELASTIC_", "HOROVOD_", "DMLC_", "OMPI_", "PMI_", "PYTHON_WORKER_FACTORY_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """All that one rank needs to know, the same for every framework."""

    gang: str
    """Unique id of the gang, e.g. ``train-5f0c2a``."""
    attempt: int
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
    shard: int
    """Number of its shard of the data: the task's partition, not the rank."""
    rows: tuple[int, ...] | None
    """Rows of every rank's shard, by rank; ``None`` for a gang without data."""
    output: Path | None
    """Where rank 0 puts the files that become the model."""

    @property
    def mark(self) -> str:
        """What every process of this rank carries in its environment, e.g. ``train-5f0c2a.0/3``."""
        return f"{self.gang}.{self.attempt}/{self.rank}"


def contract_of(
    placement: Placement,
    member: Member,
    *,
    gang: str,
    devices: Mapping[Uuid, Device],
    tasks: Sequence[int],
    rows: Sequence[int] | None,
    master: tuple[str, int],
    cpus: int,
    output: Path | None,
) -> Contract:
    """State one member's contract; ``tasks`` and ``rows`` are by rank, ``cpus`` are those of its host."""
    members = placement.members
    local = sorted((m for m in members if m.host == member.host), key=lambda m: m.local_rank)
    first = [uuid for m in local for uuid in m.devices[:1]]
    rest = [uuid for m in local for uuid in m.devices[1:]]
    return Contract(
        gang=gang,
        attempt=0,
        rank=member.rank,
        size=len(members),
        local_rank=member.local_rank,
        local_size=len(local),
        group_rank=member.group_rank,
        groups=len({m.host for m in members}),
        devices=tuple(devices[uuid] for uuid in member.devices),
        visible=tuple(first + rest),
        master=master,
        threads=max(1, cpus // len(local)),
        shard=tasks[member.rank],
        rows=tuple(rows) if rows is not None else None,
        output=output,
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
