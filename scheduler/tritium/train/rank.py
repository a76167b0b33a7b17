"""What a user's function can ask and say inside a rank: ``tritium.rank()``."""

from __future__ import annotations

import base64
import json
import pickle
import select
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tritium.train.contract import Contract
from tritium_discovery import Device

__all__ = ["NotInARank", "Rank", "Wire", "enter", "rank"]


class NotInARank(RuntimeError):
    """``tritium.rank()`` was called in a process that no gang started."""


class Wire:
    """The rank's socket to its task: a JSON object per line in both directions."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        self._lines = raw.makefile("r")
        self._lock = threading.Lock()

    def send(self, kind: str, content: object) -> None:
        """Send one message; any thread of the rank may."""
        with self._lock:
            self._raw.sendall(json.dumps({kind: content}).encode() + b"\n")

    def receive(self, *, timeout_s: float) -> Any:
        """Wait for one answer.

        Raises:
            TimeoutError: none came in time.
        """
        if not select.select([self._raw], [], [], timeout_s)[0]:
            raise TimeoutError(f"the other ranks did not answer within {timeout_s:g} s")
        return json.loads(self._lines.readline())


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
    _wire: Wire

    def report(self, **values: float | str) -> None:
        """Tell the driver some numbers, e.g. ``report(epoch=3, loss=0.07)``; it shows them as they come."""
        self._wire.send("report", values)

    def all_gather(self, value: Any, *, timeout_s: float = 600.0) -> list[Any]:
        """Give every rank every rank's value, by rank; all ranks must call it equally often.

        For small things that can be pickled, not for tensors: it goes through the driver.

        Raises:
            TimeoutError: some rank did not call it within ``timeout_s``.
        """
        self._wire.send("share", base64.b64encode(pickle.dumps(value)).decode())
        answer = self._wire.receive(timeout_s=timeout_s)
        return [pickle.loads(base64.b64decode(part)) for part in answer["shared"]]  # noqa: S301  our own ranks

    def barrier(self, *, timeout_s: float = 600.0) -> None:
        """Wait until every rank is here.

        Raises:
            TimeoutError: some rank did not come within ``timeout_s``.
        """
        self.all_gather(None, timeout_s=timeout_s)

    def broadcast(self, value: Any = None, *, root: int = 0, timeout_s: float = 600.0) -> Any:
        """Give every rank the value of rank ``root``; the others' are ignored.

        Raises:
            TimeoutError: some rank did not call it within ``timeout_s``.
        """
        return self.all_gather(value if self.rank == root else None, timeout_s=timeout_s)[root]


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
            _wire=Wire(wire),
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
