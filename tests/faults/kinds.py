"""The faults: who is hit how and when, and what the error must then say."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["LAUNCH", "PHASES", "SIGNALS", "Fault", "every", "some"]

PHASES = ("start", "rendezvous", "step", "checkpoint", "end")
LAUNCH = "launch"
"""Some moment between the submission and the start of the ranks."""

SIGNALS = {
    "kill": signal.SIGKILL,
    "stop": signal.SIGSTOP,
    "terminate": signal.SIGTERM,
    "crash": signal.SIGSEGV,
}
"""Those that are sent from outside."""

ENDED = r"GangLost|SparkFailed"
NOTHING = r"^$"
_LOST = r"GangLost: .*(executor or Python worker went away|connection lost)"

_SAYS = {
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
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One injected fault."""

    who: str
    """``rank``, ``guardian``, ``worker``, ``daemon``, ``fork server``, ``executor``, ``driver``,
    ``driver jvm``, or ``cancel``."""
    kind: str
    """A name in `SIGNALS`, ``exception``, ``exit``, or how it is cancelled."""
    phase: str
    victims: tuple[int, ...] = (0,)
    """Ranks that are hit, or whose processes around them are."""
    deaf: bool = False
    """Whether ranks ignore SIGTERM."""

    @property
    def says(self) -> str:
        """What the error must match; empty for none."""
        if self.who == "cancel":
            return r"KeyboardInterrupt" if self.kind == "interrupt" else r"GangCancelled: "
        says = _SAYS[self.who, self.kind]
        # Before its ranks run a gang may be lost in other words, start late, or not even notice.
        return f"{says}|{ENDED}|TooSlow|{NOTHING}" if self.phase == LAUNCH else says

    @property
    def harmless(self) -> bool:
        """Whether the gang may go on."""
        return self.phase == LAUNCH or NOTHING in self.says


def every() -> Iterator[Fault]:
    """Name all faults of the full suite."""
    for kind, phase, victims in itertools.product(
        ("kill", "stop", "exception", "exit"), PHASES, ((0,), (1,), (0, 1))
    ):
        yield Fault(who="rank", kind=kind, phase=phase, victims=victims)
    for kind, phase in itertools.product(("terminate", "crash"), PHASES):
        yield Fault(who="rank", kind=kind, phase=phase, victims=(1,))
    for who, kind, phase, victims in itertools.product(
        ("guardian", "worker"), ("kill", "stop"), PHASES, ((0,), (1,))
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
    for kind, phase in itertools.product(("kill", "stop"), PHASES):
        yield Fault(who="driver", kind=kind, phase=phase)
    for phase in PHASES:
        yield Fault(who="driver jvm", kind="kill", phase=phase)


def some() -> Iterator[Fault]:
    """Name those of the short suite: everybody is hit once."""
    yield Fault(who="rank", kind="kill", phase="checkpoint", victims=(0, 1))
    yield Fault(who="rank", kind="exception", phase="rendezvous", victims=(1,))
    yield Fault(who="rank", kind="exit", phase="start")
    yield Fault(who="rank", kind="stop", phase="step")
    yield Fault(who="guardian", kind="kill", phase="end")
    yield Fault(who="worker", kind="kill", phase="rendezvous")
    yield Fault(who="worker", kind="stop", phase="step", victims=(1,))
    yield Fault(who="cancel", kind="gang", phase="step", deaf=True)
    yield Fault(who="cancel", kind="group", phase="rendezvous")
    yield Fault(who="cancel", kind="interrupt", phase="checkpoint")
    yield Fault(who="fork server", kind="kill", phase="step")
    yield Fault(who="daemon", kind="kill", phase="step")
    yield Fault(who="executor", kind="kill", phase="checkpoint")
    yield Fault(who="driver", kind="kill", phase="step")
