"""What a user's function can ask and say inside a rank: ``tritium.rank()``."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path

from tritium.train.contract import Contract
from tritium_discovery import Device

__all__ = ["NotInARank", "Rank", "enter", "rank"]


class NotInARank(RuntimeError):
    """``tritium.rank()`` was called in a process that no gang started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """The rank that this process is."""

    rank: int
    """0 to ``size - 1``; ranks of one host are consecutive."""
    size: int
    """Ranks of the gang."""
    local_rank: int
    """Its number on its host; ``torch.cuda.set_device(local_rank)`` picks its first device."""
    local_size: int
    """Ranks of the gang on this host."""
    group_rank: int
    """Its host's number among the gang's hosts."""
    devices: tuple[Device, ...]
    """The devices that are this rank's own."""
    shard: int
    """Number of its shard of the data."""
    attempt: int
    """0 at first, one more each time the gang is tried again."""
    output: Path | None
    """Folder for the files that become the model; written by rank 0 only."""
    _wire: socket.socket

    def report(self, **values: float | str) -> None:
        """Tell the driver some numbers, e.g. ``report(epoch=3, loss=0.07)``; it shows them as they come."""
        self._wire.sendall(json.dumps(values).encode() + b"\n")


_current: list[Rank] = []


def enter(contract: Contract, wire: socket.socket) -> None:
    """Make this process the rank of a contract; called once, before the user's function."""
    _current[:] = [
        Rank(
            rank=contract.rank,
            size=contract.size,
            local_rank=contract.local_rank,
            local_size=contract.local_size,
            group_rank=contract.group_rank,
            devices=contract.devices,
            shard=contract.shard,
            attempt=contract.attempt,
            output=contract.output,
            _wire=wire,
        )
    ]


def rank() -> Rank:
    """Return the rank that this process is.

    Raises:
        NotInARank: this process was not started by a gang.
    """
    if not _current:
        raise NotInARank("tritium.rank() works in a function that tritium.Gang runs; this process is no rank")
    return _current[0]
