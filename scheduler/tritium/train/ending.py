"""Decides how a rank ended, from what its guardian said and what it left."""

from __future__ import annotations

import os
import pickle
import re
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tritium.train.messages import OutcomeKind

__all__ = ["Ending", "from_outside", "how_it_ended", "signal_name"]

_FROM_OUTSIDE = re.compile(r"killed by (SIGTERM|SIGKILL(: memory may have run out: .*)?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How one rank ended, and what its function returned."""

    kind: OutcomeKind
    cause: str = ""
    trace: str = ""
    value: bytes | None = None


def how_it_ended(status: int | None, result: bytes | None, *, oom: str) -> Ending:
    """Tell it from the status as from ``waitpid`` and the result that the rank left, if there are any.

    ``oom`` is what speaks for an out-of-memory kill, or empty.

    >>> how_it_ended(9, None, oom="").cause
    'killed by SIGKILL'
    >>> how_it_ended(3 << 8, None, oom="").cause
    'exited with code 3'
    """
    if status is None:
        return Ending(kind="lost", cause="its guardian process was killed")
    if os.WIFSIGNALED(status):
        cause = f"killed by {signal_name(os.WTERMSIG(status))}"
        return Ending(kind="killed", cause=f"{cause}: {oom}" if oom else cause)
    if result is None:
        return Ending(kind="exited", cause=f"exited with code {os.WEXITSTATUS(status)}")
    kind, first, *rest = pickle.loads(result)  # noqa: S301  written by our own rank
    if kind == "returned":
        return Ending(kind="returned", value=first)
    return Ending(kind=kind, cause=first, trace=rest[0])


def from_outside(cause: str) -> bool:
    """Whether no bug in the user's code ends a rank like that: an operator did, or a node that shuts down.

    That memory may have run out, somewhere on the host, is no proof against it.

    >>> from_outside("killed by SIGKILL"), from_outside("killed by SIGSEGV")
    (True, False)
    >>> out = "killed by SIGKILL: out of memory: the kernel has killed"
    >>> from_outside(out), from_outside(out.replace("out of memory", "memory may have run out"))
    (False, True)
    """
    return _FROM_OUTSIDE.fullmatch(cause) is not None


def signal_name(number: int) -> str:
    """Name a signal, e.g. ``SIGKILL``."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has no name of its own
        return f"signal {number}"
