"""The faults: who is hit how and when, and what the error must then say."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["LAUNCH", "PHASES", "SAVING", "SIGNALS", "Fault", "every", "some"]

PHASES = ("start", "rendezvous", "step", "checkpoint", "end")
LAUNCH = "launch"
"""All tasks have met and have guardians, and wait for their devices, which somebody else has."""
SAVING = ("step", "checkpoint", "end")
"""Phases of a gang that has saved a checkpoint before."""

SIGNALS = {
    "kill": signal.SIGKILL,
    "stop": signal.SIGSTOP,
    "terminate": signal.SIGTERM,
    "crash": signal.SIGSEGV,
    "freeze": signal.SIGSTOP,
}
"""Those that are sent from outside; what is frozen goes on when the next attempt has begun."""

ENDED = r"GangLost|SparkFailed"
NOTHING = r"^$"
_LOST = r"GangLost: .*(executor or Python worker went away|connection lost)"

_SAYS = {
    ("nobody", "nothing"): NOTHING,
    ("rank", "kill"): r"RankFailed: .*killed by SIGKILL",
    ("rank", "terminate"): r"RankFailed: .*killed by SIGTERM",
    ("rank", "crash"): r"RankFailed: .*killed by SIGSEGV",
    ("rank", "stop"): r"RankFailed: .*was stopped by SIGSTOP for",
    ("rank", "exception"): r"RankFailed: .*ValueError: injected",
    ("rank", "exit"): r"RankFailed: .*exited with code 7",
    ("guardian", "kill"): r"GangLost: .*guardian process was killed",
    ("guardian", "stop"): r"GangLost: .*guardian process did not answer",
    ("worker", "kill"): _LOST,
    ("worker", "stop"): r"GangLost: .*Python worker was silent for",
    # Its death is the end of its workers; a rank that is at its end may have returned before.
    ("daemon", "kill"): rf"{_LOST}|{NOTHING}",
    ("daemon", "stop"): NOTHING,
    ("fork server", "kill"): NOTHING,
    ("fork server", "stop"): NOTHING,
    ("executor", "kill"): rf"{_LOST}|SparkFailed",
    # Spark itself gives up on an executor that is silent (spark.network.timeout).
    ("executor", "stop"): rf"{ENDED}|{NOTHING}",
    ("driver", "kill"): r"^gone$",
    ("driver", "stop"): r"GangLost: ",
    ("driver jvm", "kill"): ENDED,
    ("machine", "freeze"): r"GangLost: .*Python worker was silent for",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One injected fault."""

    who: str
    """``rank``, ``guardian``, ``worker``, ``daemon``, ``fork server``, ``executor``, ``driver``,
    ``driver jvm``, ``machine`` (worker, guardian and rank), or ``cancel``."""
    kind: str
    """A name in `SIGNALS`, ``exception``, ``exit``, or how it is cancelled."""
    phase: str
    victims: tuple[int, ...] = (0,)
    """Ranks that are hit, or whose processes around them are."""
    deaf: bool = False
    """Whether ranks ignore SIGTERM."""
    retried: bool = False
    """Whether the gang saves checkpoints and is tried again; then the error is that of its first attempt."""

    def __str__(self) -> str:
        """Say it in a line."""
        victims = " and ".join(map(str, self.victims))
        again = ", tried again" if self.retried else ""
        return f"{self.who} {self.kind} at {self.phase} ({'deaf ' if self.deaf else ''}{victims}{again})"

    @property
    def says(self) -> str:
        """What the error must match; empty for none."""
        if self.who == "cancel":
            return r"KeyboardInterrupt" if self.kind == "interrupt" else r"GangCancelled: "
        return _SAYS[self.who, self.kind]

    @property
    def harmless(self) -> bool:
        """Whether the gang may go on."""
        return NOTHING in self.says


def every() -> Iterator[Fault]:
    """Name all faults of the full suite."""
    for kind, phase, victims in itertools.product(
        ("kill", "stop", "exception", "exit"), PHASES, ((0,), (1,), (0, 1))
    ):
        yield Fault(who="rank", kind=kind, phase=phase, victims=victims)
    for kind, phase in itertools.product(("terminate", "crash"), PHASES):
        yield Fault(who="rank", kind=kind, phase=phase, victims=(1,))
    for who, kind, phase, victims in itertools.product(
        ("guardian", "worker"), ("kill", "stop"), (LAUNCH, *PHASES), ((0,), (1,))
    ):
        yield Fault(who=who, kind=kind, phase=phase, victims=victims)
    for way, phase, deaf in itertools.product(
        ("gang", "group", "jobs", "interrupt"), (LAUNCH, *PHASES), (False, True)
    ):
        yield Fault(who="cancel", kind=way, phase=phase, deaf=deaf)
    for who, kind, phase in itertools.product(
        ("daemon", "fork server", "executor"), ("kill", "stop"), (LAUNCH, *PHASES)
    ):
        yield Fault(who=who, kind=kind, phase=phase)
    for kind, phase in itertools.product(("kill", "stop"), (LAUNCH, *PHASES)):
        yield Fault(who="driver", kind=kind, phase=phase)
    for phase in (LAUNCH, *PHASES):
        yield Fault(who="driver jvm", kind="kill", phase=phase)
    yield from _retried()


def _retried() -> Iterator[Fault]:
    for who, phase in itertools.product(("rank", "guardian", "worker", "executor"), SAVING):
        yield Fault(who=who, kind="kill", phase=phase, retried=True)
    for phase, victims in itertools.product(SAVING, ((0,), (1,))):
        yield Fault(who="worker", kind="stop", phase=phase, victims=victims, retried=True)
        # It ignores SIGTERM, so that it has a second in which it tries to publish.
        yield Fault(who="machine", kind="freeze", phase=phase, victims=victims, deaf=True, retried=True)


def some() -> Iterator[Fault]:
    """Name those of the short suite: everybody is hit once."""
    yield Fault(who="rank", kind="kill", phase="checkpoint", victims=(0, 1))
    yield Fault(who="rank", kind="exception", phase="rendezvous", victims=(1,))
    yield Fault(who="rank", kind="exit", phase="start")
    yield Fault(who="rank", kind="stop", phase="step")
    yield Fault(who="guardian", kind="kill", phase="end")
    yield Fault(who="worker", kind="kill", phase="rendezvous")
    yield Fault(who="worker", kind="stop", phase="step", victims=(1,))
    yield Fault(who="guardian", kind="kill", phase=LAUNCH)
    yield Fault(who="cancel", kind="gang", phase=LAUNCH)
    yield Fault(who="worker", kind="kill", phase="step", retried=True)
    yield Fault(who="guardian", kind="kill", phase="checkpoint", retried=True)
    yield Fault(who="machine", kind="freeze", phase="checkpoint", deaf=True, retried=True)
    yield Fault(who="machine", kind="freeze", phase="end", deaf=True, retried=True)
    yield Fault(who="cancel", kind="gang", phase="step", deaf=True)
    yield Fault(who="cancel", kind="group", phase="rendezvous")
    yield Fault(who="cancel", kind="interrupt", phase="checkpoint")
    yield Fault(who="fork server", kind="kill", phase="step")
    yield Fault(who="daemon", kind="kill", phase="step")
    yield Fault(who="daemon", kind="kill", phase=LAUNCH)
    yield Fault(who="executor", kind="kill", phase="checkpoint")
    yield Fault(who="executor", kind="kill", phase="end", retried=True)
    yield Fault(who="driver", kind="kill", phase="step")
