"""What tasks and driver say to each other while a gang lives.

They travel as pickles over an authenticated connection (``multiprocessing.connection``): both ends
already run each other's pickled code, as everywhere in Spark.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tritium import assign
from tritium.spark.inventory import TaskView
from tritium_discovery import Uuid

__all__ = [
    "Again",
    "AllGone",
    "Beat",
    "Dump",
    "Dumped",
    "FromTask",
    "Gathered",
    "Go",
    "Gone",
    "Hello",
    "Here",
    "Idle",
    "Line",
    "Moment",
    "Outcome",
    "OutcomeKind",
    "Peak",
    "Pulse",
    "Refusal",
    "Report",
    "Reserved",
    "Share",
    "Shared",
    "Started",
    "Stop",
    "ToTask",
]

OutcomeKind = Literal["returned", "raised", "exited", "killed", "stopped", "lost", "refused"]
"""How a rank ended: by itself in four ways, because the gang ended, with the machine under it, or
before it began because its executor cannot say which devices it has, or has no room for its rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one rank ended."""

    kind: OutcomeKind
    cause: str = ""
    """E.g. ``ValueError: no rows`` or ``killed by SIGKILL``."""
    trace: str = ""
    """The rank's own traceback, if it left one, else the last lines that it printed."""
    log: str = ""
    """Where its whole output is, e.g. ``/var/spark/app-1/0/train-5f0c2a.0-rank-3.log on node-7``."""
    seconds: float = 0.0
    """From the start of its process to its end."""
    sick: Mapping[Uuid, str] = field(default_factory=dict)
    """Its devices that were found broken after it failed, and how."""

    @property
    def broke_off(self) -> bool:
        """Whether it ended in the middle of something, and not because the gang was asked to end."""
        return self.kind in ("killed", "lost") and self.cause != "killed by SIGTERM"

    @property
    def failed(self) -> bool:
        """Whether this is a reason to end the gang."""
        return self.kind not in ("returned", "stopped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """Task -> driver: Spark has started me; next I read my rows, which takes as long as it takes."""

    task: int
    """Spark's partition id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Task -> driver: this is what I see, and this socket is mine to lend to rank 0."""

    task: int
    """Spark's partition id."""
    view: TaskView
    rows: int | None
    """Rows of its shard; ``None`` for a gang without data."""
    address: tuple[str, int]
    """Where its held listening socket can be reached."""
    cpus: int
    """Processor cores that the task's process may keep busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """Driver -> all: everybody's hello, by task; each computes the same placement from it."""

    hellos: tuple[Hello, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a task could not take its line of the placement."""

    reasons: tuple[str, ...]
    waits: bool
    """Whether it may help to wait: somebody else holds what is needed."""
    drains: tuple[assign.Share, ...] = ()
    """Whom to ask to give way, if that would do."""
    within_s: float = 0.0
    """How soon they have to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """Task -> driver: my devices are held, or why not."""

    task: int
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Driver -> all: somebody was refused; let go, look again after a moment."""

    after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Go:
    """Driver -> all: every device is held; start the ranks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """Task -> driver: my rank's process runs."""

    task: int
    rank: int
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Task -> driver: numbers that the user's function reported."""

    rank: int
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Task -> driver: its rank has come to a point of its start, or to its end."""

    rank: int
    name: str
    """``entered`` the user's function, ``met`` all other ranks at the rendezvous, or ``failed``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """Task -> driver: the most memory that its rank had, told as it ends."""

    rank: int
    host_mib: int
    device_mib: int | None
    """Of all of its devices together, as its framework counts; ``None`` where nobody counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Task -> driver: one line that a rank printed."""

    rank: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Task -> driver: what a rank puts into a call that all ranks make."""

    rank: int
    call: int
    """Which of the rank's calls it is, from 0."""
    operation: str
    """What was called, e.g. ``all_gather()``."""
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """Driver -> all: what every rank put in, by rank."""

    call: int
    payloads: tuple[bytes, ...]
    mismatch: str = ""
    """Which ranks called different things; then there are no payloads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """Task -> driver: I am still here."""

    task: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """Driver -> all: I am still here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """Task -> driver: for so long my rank has reported, gathered and printed nothing."""

    task: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Dump:
    """Driver -> all: say where your ranks are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dumped:
    """Task -> driver: the stacks of all threads of my rank; empty if it did not answer."""

    task: int
    stacks: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """Task -> driver: my rank and all of its processes are gone."""

    task: int
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Driver -> all: the gang is over; end your rank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllGone:
    """Driver -> all: every rank is gone, so Spark may have its devices back."""


FromTask = (
    Here | Hello | Reserved | Started | Moment | Report | Line | Share | Beat | Idle | Dumped | Peak | Gone
)
ToTask = Gathered | Again | Go | Shared | Pulse | Dump | Stop | AllGone
