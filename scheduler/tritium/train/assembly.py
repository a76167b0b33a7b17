"""Decides how a gang proceeds: from hello to placement to the end of its last rank.

Events in, instructions out; it knows no socket, no clock and no Spark, so each path through a
gang's life is a plain test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tritium.errors import GangCancelled, GangLost, RankFailed, TooSlow, TritiumError, Unplaceable
from tritium.train.blame import is_cause
from tritium.train.ending import from_outside
from tritium.train.messages import (
    Again,
    AllGone,
    Beat,
    Dump,
    Dumped,
    FromTask,
    Gathered,
    Go,
    Gone,
    Hello,
    Here,
    Idle,
    Line,
    Moment,
    Outcome,
    Peak,
    Report,
    Reserved,
    Share,
    Started,
    Stop,
    ToTask,
)
from tritium.train.sharing import Sharing
from tritium.train.vigil import Vigil
from tritium_discovery import Uuid

__all__ = ["Assembly", "Lost", "Phase"]

Phase = Literal["gathering", "placing", "running", "ending", "over"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A task's connection closed before its rank was gone."""

    task: int


@dataclass(slots=True, kw_only=True)
class Assembly:
    """One gang's life, as far as it is known at the driver."""

    gang: str
    """Its name in errors, e.g. ``train``."""
    size: int
    launch_s: float
    """Limit for Spark to start all tasks, and again for the gang to find its devices free. Computing the
    rows comes before these, reading them between the two, and neither has a limit of its own."""
    launch_by: float | None
    """Moment at which the current one of these limits runs out, on the clock that ``now`` is read from."""
    end_by: float | None
    """Moment at which the gang must be over, if it has one."""
    silence_s: float = 30.0
    """A task that says nothing for so long is lost; even one that has nothing to say says that."""
    stall_s: float | None = None
    """A rank that reports, gathers and prints nothing for so long ends the gang; ``None``: it may."""

    phase: Phase = "gathering"
    error: TritiumError | None = None
    """Why the gang ended, once it did; ``None`` while it lives and when it succeeded."""
    again_s: float = 0.25
    """How long tasks wait before they look for free devices again; gangs that compete must differ in it."""
    arrived: set[int] = field(default_factory=set)
    """Tasks that Spark has started."""
    hellos: dict[int, Hello] = field(default_factory=dict)
    ranks: dict[int, int] = field(default_factory=dict)
    """Task -> rank, known once the rank has started."""
    pids: dict[int, int] = field(default_factory=dict)
    """Task -> process id of its rank."""
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    began: dict[Phase, float] = field(default_factory=dict)
    """When each phase was entered first."""
    all_here: float | None = None
    """When Spark had started the last task."""
    moments: dict[int, dict[str, float]] = field(default_factory=dict)
    """By rank: when it ``started``, ``entered`` the function, ``met`` the others, first ``reported``."""
    peaks: dict[int, Peak] = field(default_factory=dict)
    """By rank: its memory, told as it ended."""
    _vigil: Vigil = field(default_factory=Vigil)
    _blamed: Outcome | None = None
    """The end of a rank that ended the gang."""
    _replies: dict[int, Reserved] = field(default_factory=dict)
    _refused: tuple[str, ...] = ()
    _sharing: Sharing = field(init=False)

    def __post_init__(self) -> None:
        self._sharing = Sharing(size=self.size)

    @property
    def abandoned(self) -> bool:
        """Whether Spark is still busy with what nobody needs: a lost task, one to come, rows of one."""
        lost = any(outcome.kind == "lost" for outcome in self.outcomes.values())
        return self.error is not None and (lost or "placing" not in self.began)

    @property
    def sick(self) -> Mapping[Uuid, str]:
        """Devices that were found broken after their ranks had failed, and how."""
        return {uuid: how for outcome in self.outcomes.values() for uuid, how in outcome.sick.items()}

    def handle(self, event: FromTask | Lost, *, now: float) -> list[ToTask]:
        """Take in one event and answer what all tasks must be told."""
        self._vigil.takes(event, now=now)
        match event:
            case Here(task=task):
                return self._here(task, now)
            case Hello():
                return self._hello(event, now)
            case Reserved():
                return self._reserved(event, now)
            case Started() | Moment() | Report() | Peak():
                return self._note(event, now)
            case Share():
                return [*self._sharing.takes(event)]
            case Dumped(task=task, stacks=stacks):
                self._vigil.learns(self.ranks[task], stacks)
                return self._late(now)
            case Gone(task=task, outcome=outcome):
                return self._gone(task, outcome, now)
            case Lost(task=task):
                return self._lost(task, "its executor or Python worker went away", now)
            case Line() | Beat() | Idle():
                return []

    def computes(self, *, now: float) -> None:
        """Spark computes what comes before the gang's tasks, whose time to start begins after that."""
        if self.launch_by is not None and not self.arrived:
            self.launch_by = now + self.launch_s

    def tick(self, *, now: float) -> list[ToTask]:
        """Look at the clock: a gang that is late ends with what is known about the cause."""
        silence = f"its Python worker was silent for {self.silence_s:g} s (silence_timeout_s)"
        said: list[ToTask] = []
        for task in self._vigil.silent(self.silence_s, now=now):
            said += self._lost(task, silence, now)
        return said or self._late(now)

    def _late(self, now: float) -> list[ToTask]:
        if self.phase in ("ending", "over"):
            return []
        if self._vigil.verdict is not None:
            return self._end(self._vigil.verdict, now) if self._vigil.knows(self._living, now=now) else []
        if self.launch_by is not None and self.phase != "running" and now > self.launch_by:
            missing = sorted(set(range(self.size)) - self.arrived)
            if self._refused and not missing:
                return self._end(Unplaceable(f"{self.gang}: cannot be placed:", self._refused), now)
            what = f"Spark has not started its tasks {missing}" if missing else "its devices stayed taken"
            limit = f"{self.launch_s:g} s (launch_timeout_s)"
            return self._end(TooSlow(f"{self.gang}: did not start within {limit}: {what}"), now)
        if self.end_by is not None and now > self.end_by:
            return self._condemn("was still running at its time limit", now)
        if self.stall_s is not None and self.phase == "running":
            waiting = self._sharing.waiting
            stalled = self._vigil.stalled(self.stall_s, ranks=self.ranks, waiting=waiting, now=now)
            if stalled is not None:
                return self._condemn(stalled, now)
        return []

    @property
    def _living(self) -> set[int]:
        return {rank for task, rank in self.ranks.items() if task not in self.outcomes}

    def _condemn(self, sentence: str, now: float) -> list[ToTask]:
        """End the gang for a lapse of time, but ask first where its ranks are."""
        error = TooSlow(f"{self.gang}: {sentence}")
        if self.phase != "running":
            return self._end(error, now)
        self._vigil.condemns(error, now=now)
        return [Dump()]

    def cancel(self, *, now: float) -> list[ToTask]:
        """End the gang because somebody asked for it."""
        error = GangCancelled(f"{self.gang}: was cancelled")
        return [] if self.phase in ("ending", "over") else self._end(error, now)

    def _enter(self, phase: Phase, now: float) -> None:
        self.phase = phase
        self.began.setdefault(phase, now)

    def _note(self, event: Started | Moment | Report | Peak, now: float) -> list[ToTask]:
        """Keep what a rank says of itself."""
        moments = self.moments.setdefault(event.rank, {})
        match event:
            case Started(task=task, rank=rank, pid=pid):
                self.ranks[task], self.pids[task] = rank, pid
                moments["started"] = now
            case Moment(name=name):
                moments.setdefault(name, now)
            case Report():
                moments.setdefault("reported", now)
            case Peak(rank=rank):
                self.peaks[rank] = event
        return []

    def _here(self, task: int, now: float) -> list[ToTask]:
        self.arrived.add(task)
        if self.phase in ("ending", "over"):
            return [Stop()]
        if len(self.arrived) == self.size:
            self.launch_by, self.all_here = None, now
        return []

    def _hello(self, hello: Hello, now: float) -> list[ToTask]:
        self.hellos[hello.task] = hello
        if self.phase != "gathering":
            return [Stop()]
        if len(self.hellos) < self.size:
            return []
        if "placing" not in self.began:
            self.launch_by = now + self.launch_s
        self._enter("placing", now)
        self._replies = {}
        return [Gathered(hellos=tuple(self.hellos[task] for task in sorted(self.hellos)))]

    def _reserved(self, reply: Reserved, now: float) -> list[ToTask]:
        self._replies[reply.task] = reply
        if self.phase != "placing" or len(self._replies) < self.size:
            return []
        refusals = [r.refusal for _, r in sorted(self._replies.items()) if r.refusal is not None]
        if not refusals:
            self._enter("running", now)
            return [Go()]
        self._refused = tuple(dict.fromkeys(reason for refusal in refusals for reason in refusal.reasons))
        if now > (self.launch_by or now) or not all(refusal.waits for refusal in refusals):
            return self._end(Unplaceable(f"{self.gang}: cannot be placed:", self._refused), now)
        self._enter("gathering", now)
        self.hellos = {}
        return [Again(after_s=self.again_s)]

    def _gone(self, task: int, outcome: Outcome, now: float) -> list[ToTask]:
        self.outcomes[task] = outcome
        self._vigil.forgets(task)
        said: list[ToTask] = []
        if outcome.failed and self.phase not in ("ending", "over"):
            self._blamed = outcome
            said += self._end(self._failure(task, outcome), now)
        elif self._blamed and is_cause(self.ranks.get(task), outcome, self._blamed, self.moments):
            self._blamed, self.error = outcome, self._failure(task, outcome)
        return said or self._over(now)

    def _over(self, now: float) -> list[ToTask]:
        """Let tasks return once every rank is gone; who has not come to an ending gang will have none."""
        awaited = set(range(self.size)) if self.error is None else self.arrived | self.hellos.keys()
        if not self.outcomes.keys() >= awaited:
            return []
        self._enter("over", now)
        return [AllGone()]

    def _failure(self, task: int, outcome: Outcome) -> TritiumError:
        if outcome.kind == "refused":
            return Unplaceable(f"{self.gang}: task {task} cannot take part:", [outcome.cause])
        rank = self.ranks.get(task, task)
        if outcome.kind == "lost":
            return GangLost(f"{self.gang}: lost rank {rank}: {outcome.cause}")
        victims = sorted(self.ranks.get(t, t) for t in self.hellos if t != task)
        return RankFailed(
            gang=self.gang,
            rank=rank,
            cause=outcome.cause,
            trace=outcome.trace,
            victims=victims,
            log=outcome.log,
            sick=outcome.sick,
            by_machine=from_outside(outcome.cause),
        )

    def _lost(self, task: int, how: str, now: float) -> list[ToTask]:
        if task in self.outcomes or self.phase == "over":
            return []
        said: list[ToTask] = []
        if self.phase != "ending":
            hello = self.hellos.get(task)
            where = f" on {hello.view.pool_name} of {hello.view.inventory.host}" if hello else ""
            who = f"rank {self.ranks[task]}" if task in self.ranks else f"task {task}"
            said += self._end(GangLost(f"{self.gang}: lost {who}{where}: {how}"), now)
        return said + self._gone(task, Outcome(kind="lost", cause=how), now)

    def _end(self, error: TritiumError, now: float) -> list[ToTask]:
        # What was found first stays the cause, unless somebody cancels.
        first = None if isinstance(error, GangCancelled) else self._vigil.traced()
        self.error = first or error
        self._enter("ending", now)
        return [Stop(), *self._over(now)]
