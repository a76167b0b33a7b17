"""What can go wrong for a user of Tritium, one class and one exit code per cause.

A mistake of the user's is one sentence that says what, where and what to do; the command prints it
and exits with the class's code, never with a traceback. 0 is success, 1 is a bug of ours, 2 is bad
usage (as click has it); `gpu-discover` has codes of its own below 30.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from tritium_discovery import Uuid

__all__ = [
    "AlreadyRunning",
    "BadConf",
    "BadSpec",
    "CannotHold",
    "CannotPublish",
    "CodeMissing",
    "GangCancelled",
    "GangLost",
    "ModelFailed",
    "NoJava",
    "Occupied",
    "RankFailed",
    "SparkFailed",
    "StaleAttempt",
    "TooSlow",
    "TritiumError",
    "Unplaceable",
    "VerifyFailed",
]


class TritiumError(Exception):
    """Base of all; ``str()`` is the sentence for the user."""

    exit_code: ClassVar[int] = 30

    @property
    def headline(self) -> str:
        """The sentence without the reasons below it."""
        return str(self).partition("\n")[0]

    def __reduce__(self) -> tuple[object, ...]:
        """Travel between processes whole; an exception's own way is to be constructed from its text."""
        return _rebuilt, (type(self), self.args, dict(vars(self)))


def _rebuilt(kind: type[TritiumError], args: tuple[object, ...], state: dict[str, object]) -> TritiumError:
    error = kind.__new__(kind, *args)
    vars(error).update(state)
    return error


class BadSpec(TritiumError):
    """A pipeline file is wrong; ``problems`` are all of its mistakes, each with its path."""

    exit_code = 31

    def __init__(self, where: str, problems: Sequence[str]) -> None:
        self.where = where
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{where}: {problem}" for problem in self.problems))


class CodeMissing(TritiumError):
    """A module that the user named does not import, or has no such function."""

    exit_code = 32


class NoJava(TritiumError):
    """Spark needs Java 17 and none was found."""

    exit_code = 33


class SparkFailed(TritiumError):
    """Spark did not start, or a job failed for a reason that is not the user's function."""

    exit_code = 34


class Unplaceable(TritiumError):
    """The assigner refused; ``reasons`` are its sentences."""

    exit_code = 35

    def __init__(self, what: str, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("\n  - ".join((what, *self.reasons)))


class RankFailed(TritiumError):
    """The user's function failed on a rank: it raised, exited or was killed by a signal.

    Attributes: ``rank`` failed first; ``cause`` names exception, exit code or signal; ``trace`` is the
    rank's own traceback, or the last lines that it printed if it left none; ``victims`` are the ranks that
    were ended after it; ``log`` says where its whole output is; ``sick`` says which of its devices were found
    broken, and how; ``by_machine`` is True where somebody outside of the gang killed it.
    """

    exit_code = 36

    def __init__(
        self,
        *,
        gang: str,
        rank: int,
        cause: str,
        trace: str = "",
        victims: Sequence[int] = (),
        log: str = "",
        sick: Mapping[Uuid, str] | None = None,
        by_machine: bool = False,
    ) -> None:
        self.gang = gang
        self.rank = rank
        self.cause = cause
        self.trace = trace
        self.victims = tuple(victims)
        self.log = log
        self.sick = dict(sick or {})
        self.by_machine = by_machine
        broken = "".join(f"; {uuid}: {how}" for uuid, how in self.sick.items())
        super().__init__(f"{gang}: rank {rank} failed: {cause}{broken}")


class GangLost(TritiumError):
    """A part of the machinery under a rank went away: executor, Python worker, connection."""

    exit_code = 37


class GangCancelled(TritiumError):
    """Somebody cancelled the gang's Spark job."""

    exit_code = 38


class TooSlow(TritiumError):
    """A time limit ran out; ``trace`` is where all ranks were then, if there were ranks."""

    exit_code = 39

    def __init__(self, sentence: str) -> None:
        self.trace = ""
        super().__init__(sentence)


class VerifyFailed(TritiumError):
    """A model did not meet the bar of ``atLeast`` or ``atMost``."""

    exit_code = 40


class CannotPublish(TritiumError):
    """An output could not be written whole."""

    exit_code = 41


class StaleAttempt(CannotPublish):
    """A later attempt of the same gang has begun: what this one would publish is refused."""


class CannotHold(TritiumError):
    """A task cannot have devices: it is no Spark task, CUDA is in use in it, or somebody holds them."""

    exit_code = 42


class ModelFailed(TritiumError):
    """The user's ``load`` or ``predict`` failed in an inference task.

    Attributes: ``task`` is Spark's partition; ``device`` the device it had; ``cause`` names step and
    exception; ``trace`` is the user's own traceback.
    """

    exit_code = 43

    def __init__(self, *, task: int, device: str, cause: str, trace: str = "") -> None:
        self.task = task
        self.device = device
        self.cause = cause
        self.trace = trace
        super().__init__(f"inference task {task} on {device}: {cause}")


class AlreadyRunning(TritiumError):
    """Another run of the same pipeline, or another writer of its sink, is at work."""

    exit_code = 44


class Occupied(Unplaceable):
    """What is asked for can be had, but not now: ``reasons`` say who has it. Asking again later helps."""

    exit_code = 45


class BadConf(TritiumError):
    """A file of Spark properties holds a mistake that makes something fail (``tritium conf --check``)."""

    exit_code = 48
