"""What a user's function can ask and say inside a rank: ``tritium.rank()``."""

from __future__ import annotations

import base64
import json
import pickle
import select
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tritium.train.checkpoints import Checkpoints
from tritium.train.contract import Contract, Peer
from tritium.train.shard import Shard
from tritium_discovery import Device

__all__ = ["DifferentCalls", "NotInARank", "Rank", "Wire", "enter", "rank"]


class DifferentCalls(RuntimeError):
    """Ranks that should have made the same call, ``barrier()`` for example, made different ones."""


class NotInARank(RuntimeError):
    """``tritium.rank()`` was called in a process that no gang started."""


class Wire:
    """The rank's socket to its task: a JSON object per line in both directions."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        self._rest = b""
        self._calls = 0
        self._sending = threading.Lock()
        self._sharing = threading.Lock()

    def report(self, values: Mapping[str, Any]) -> None:
        """Send some numbers; any thread of the rank may."""
        self._send({"report": {key: _plain(key, value) for key, value in values.items()}})

    def moment(self, name: str) -> None:
        """Say that this rank has come to a point of its start."""
        self._send({"moment": name})

    def peak(self, *, host_mib: int, device_mib: int | None) -> None:
        """Say how much memory this rank had at most."""
        self._send({"peak": {"host_mib": host_mib, "device_mib": device_mib}})

    def share(self, value: bytes, operation: str, *, timeout_s: float) -> list[bytes]:
        """Put in a value and wait for everybody's.

        Raises:
            DifferentCalls: another rank made another call; known at once, and by all ranks.
            TimeoutError: some rank did not put one in, in time.
            ConnectionError: the gang is ending.
        """
        with self._sharing:
            call, self._calls = self._calls, self._calls + 1
            share = base64.b64encode(value).decode()
            self._send({"share": share, "call": call, "operation": operation})
            deadline = time.monotonic() + timeout_s
            # An answer to a call that timed out may still come; it is not the answer to this one.
            while (answer := self._receive(deadline, timeout_s))["call"] != call:
                pass
        if answer["mismatch"]:
            raise DifferentCalls(answer["mismatch"])
        return [base64.b64decode(part) for part in answer["shared"]]

    def _send(self, word: Mapping[str, Any]) -> None:
        with self._sending:
            self._raw.sendall(json.dumps(word).encode() + b"\n")

    def _receive(self, deadline: float, timeout_s: float) -> Any:
        parts = [self._rest]
        while b"\n" not in parts[-1]:
            if not select.select([self._raw], [], [], max(0.0, deadline - time.monotonic()))[0]:
                self._rest = b"".join(parts)
                raise TimeoutError(f"not all ranks made this call within {timeout_s:g} s")
            parts.append(self._raw.recv(1 << 20))
            if not parts[-1]:
                raise ConnectionError("the gang is ending")
        line, _, self._rest = b"".join(parts).partition(b"\n")
        return json.loads(line)


def _plain(key: str, value: Any) -> Any:
    """Make a number of a tensor's or an array's single element, which JSON does not know."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, (int, float, str)):
        return value
    raise TypeError(f"report({key}=...): expected a number or a text, got {type(value).__name__}")


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
    groups: int
    """Hosts of the gang."""
    devices: tuple[Device, ...]
    """The devices that are this rank's own."""
    peers: tuple[Peer, ...]
    """Every rank of the gang, this one too, by rank: where it is and how it is reached."""
    shard: int
    """Number of its shard of the data."""
    data: Shard | None
    """Its shard of the data, for scripts; a function gets it as its first argument."""
    attempt: int
    """0 at first, one more each time the gang is tried again."""
    output: Path | None
    """Folder for the files that become the model; written by rank 0 only."""
    checkpoints: str | None
    """Path or URL of what `tritium.checkpoint` saves."""
    _wire: Wire
    _kept: Checkpoints | None

    def kept(self) -> Checkpoints:
        """Return the gang's checkpoints, for `tritium.checkpoint`.

        Raises:
            NotInARank: the gang has none.
        """
        if self._kept is None:
            raise NotInARank(
                "this gang keeps no checkpoints: give it a place, Gang.run(..., checkpoints=...)"
            )
        return self._kept

    def report(self, **values: Any) -> None:
        """Tell the driver some numbers, e.g. ``report(epoch=3, loss=0.07)``; it shows them as they come.

        Raises:
            TypeError: a value is neither a number, nor a text, nor a tensor of one element.
        """
        self._wire.report(values)

    def all_gather(self, value: Any, *, timeout_s: float = 600.0) -> list[Any]:
        """Give every rank every rank's value, by rank.

        For small things that can be pickled, not for tensors: it goes through the driver. Threads of
        a rank take turns. All ranks must make the same calls of `all_gather`, `barrier`, `broadcast` and
        ``tritium.checkpoint.save(..., together=True)`` in the same order.

        Raises:
            DifferentCalls: another rank made another of these calls.
            TimeoutError: some rank did not call it within ``timeout_s``.
        """
        return self.call("all_gather()", value, timeout_s=timeout_s)

    def barrier(self, *, timeout_s: float = 600.0) -> None:
        """Wait until every rank is here.

        Raises:
            DifferentCalls: see `all_gather`.
            TimeoutError: some rank did not come within ``timeout_s``.
        """
        self.call("barrier()", None, timeout_s=timeout_s)

    def broadcast(self, value: Any = None, *, root: int = 0, timeout_s: float = 600.0) -> Any:
        """Give every rank the value of rank ``root``; the others' are ignored.

        Raises:
            DifferentCalls: see `all_gather`; also where ranks name different roots.
            TimeoutError: some rank did not call it within ``timeout_s``.
        """
        mine = value if self.rank == root else None
        return self.call(f"broadcast(root={root})", mine, timeout_s=timeout_s)[root]

    def call(self, operation: str, value: Any, *, timeout_s: float = 600.0) -> list[Any]:
        """Gather values for an operation that has a name; `all_gather` says how.

        Raises:
            DifferentCalls: another rank has called another.
            TimeoutError: some rank did not call it within ``timeout_s``.
        """
        parts = self._wire.share(pickle.dumps(value), operation, timeout_s=timeout_s)
        return [pickle.loads(part) for part in parts]  # noqa: S301  our own ranks


_current: list[Rank] = []


def enter(contract: Contract, wire: Wire, *, data: Shard | None, scratch: Path) -> None:
    """Make this process the rank of a contract; called once, before the user's function."""
    attempt = contract.attempt
    place = attempt.checkpoints
    kept = Checkpoints(place, known=attempt.book, scratch=scratch) if place is not None else None
    _current[:] = [
        Rank(
            rank=contract.rank,
            size=contract.size,
            local_rank=contract.local_rank,
            local_size=contract.local_size,
            group_rank=contract.group_rank,
            groups=contract.groups,
            devices=contract.devices,
            peers=contract.peers,
            shard=contract.me.shard,
            data=data,
            attempt=attempt.number,
            output=attempt.output,
            checkpoints=place,
            _wire=wire,
            _kept=kept,
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
