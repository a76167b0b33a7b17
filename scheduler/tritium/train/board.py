"""What the gangs of this driver hold and do now: a view made of ledger events, for metrics and for people.

The truth about a device is the hold on its host; this is what the driver knows of it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from tritium.assign.ledger import Event, Gone, Granted
from tritium.assign.types import Member
from tritium.spark.conf.port import port_of
from tritium.train import messages
from tritium.train.assembly import Assembly
from tritium.train.messages import FromTask
from tritium.train.placing import Asked, Placed, place

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["BOARD", "Board", "Entry", "Witness", "serve_metrics"]

_REMEMBERED = 10_000
"""Events that are kept; a view need not reach back for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One attempt of a gang, while it lives and until the next one of this driver ends."""

    gang: str
    """Its name, e.g. ``train``."""
    members: tuple[Member, ...]
    running: frozenset[int]
    """Ranks whose processes are not gone."""
    reported: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    """By rank: the last numbers that it reported."""
    peaks: Mapping[int, messages.Peak] = field(default_factory=dict)


class Board:
    """All attempts that are on, or were last; any thread may look."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._ended: dict[tuple[str, str], int] = {}
        self.events: deque[tuple[float, Event]] = deque(maxlen=_REMEMBERED)
        """What happened, with the seconds since the epoch: `tritium.assign.ledger` replays it."""

    def entries(self) -> Mapping[str, Entry]:
        """Return the attempts by owner, e.g. ``train-5f0c2a.0``."""
        with self._lock:
            return dict(self._entries)

    def ended(self) -> Mapping[tuple[str, str], int]:
        """Count ended attempts by gang and by how they ended, ``succeeded`` or the name of the error."""
        with self._lock:
            return dict(self._ended)

    def handle(self, event: Event, *, gang: str) -> None:
        """Take in one ledger event of a gang."""
        with self._lock:
            self.events.append((time.time(), event))
            match event:
                case Granted(owner=owner, placement=placement):
                    # What is over is shown until something newer is, so that short gangs are seen at all.
                    self._entries = {key: entry for key, entry in self._entries.items() if entry.running}
                    members = tuple(placement.members)
                    self._entries[owner] = Entry(
                        gang=gang, members=members, running=frozenset(member.rank for member in members)
                    )
                case Gone(owner=owner, rank=rank):
                    entry = self._entries[owner]
                    self._entries[owner] = replace(entry, running=entry.running - {rank})
                case _:
                    pass

    def changes(self, owner: str, change: Callable[[Entry], Entry]) -> None:
        """Change what is known of an attempt, if it was granted anything."""
        with self._lock:
            if owner in self._entries:
                self._entries[owner] = change(self._entries[owner])

    def ends(self, gang: str, how: str) -> None:
        """Count an attempt that ended."""
        with self._lock:
            self._ended[gang, how] = self._ended.get((gang, how), 0) + 1


BOARD = Board()
"""The board of this process."""


class Witness:
    """Turns what the tasks of one attempt say into ledger events, on a board."""

    def __init__(self, board: Board, *, owner: str, assembly: Assembly, asked: Asked) -> None:
        self._board, self._owner, self._assembly, self._asked = board, owner, assembly, asked
        self._running: set[int] = set()
        self._granted = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        # Of a lost rank this driver will not hear any more.
        for rank in sorted(self._running):
            self._gone(rank)
        how = "succeeded" if error is None else type(error).__name__
        self._board.ends(self._assembly.gang, how)

    def hear(self, message: FromTask) -> None:
        """Take in what a task says, after the assembly did."""
        match message:
            case messages.Started() if not self._granted:
                self._grant()
            case messages.Gone(task=task) if task in self._assembly.ranks:
                self._gone(self._assembly.ranks[task])
            case messages.Report(rank=rank, values=values):
                numbers = _numbers(values)
                self._board.changes(
                    self._owner, lambda entry: replace(entry, reported={**entry.reported, rank: numbers})
                )
            case messages.Peak(rank=rank):
                self._board.changes(
                    self._owner, lambda entry: replace(entry, peaks={**entry.peaks, rank: message})
                )
            case _:
                pass

    def _grant(self) -> None:
        hellos = [self._assembly.hellos[task] for task in sorted(self._assembly.hellos)]
        placed = place(hellos, self._asked)
        assert isinstance(placed, Placed)  # noqa: S101  the tasks computed the same from the same hellos
        self._granted = True
        self._running = {member.rank for member in placed.placement.members}
        event = Granted(owner=self._owner, request=self._asked.request, placement=placed.placement)
        self._board.handle(event, gang=self._assembly.gang)

    def _gone(self, rank: int) -> None:
        if rank in self._running:
            self._running.discard(rank)
            self._board.handle(Gone(owner=self._owner, rank=rank), gang=self._assembly.gang)


def serve_metrics(spark: SparkSession) -> None:
    """Serve Prometheus metrics of the board where ``spark.tritium.metrics.port`` says so.

    Raises:
        BadSpec: that is no port, or it cannot be listened on.
    """
    key = "spark.tritium.metrics.port"
    value = spark.conf.get(key, None)
    if value is not None:
        from tritium import metrics

        metrics.serve(port_of(key, value))


def _numbers(values: Mapping[str, Any]) -> Mapping[str, float]:
    return {name: float(value) for name, value in values.items() if isinstance(value, (int, float))}
