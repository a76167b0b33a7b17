"""Edge in a task: whether an owner that says nothing is busy, or stands still and must be ended."""

from __future__ import annotations

import contextlib
import time

from tritium.infer.lodging import Owner
from tritium.train import sweep

__all__ = ["Vigil"]

_LISTENS_S = 10.0
"""How long an owner may be silent until it is asked whether it is there."""
_STOPPED_S = 30.0
"""How long one may be stopped by a signal, or by a debugger."""


class Vigil:
    """One task's ear for its owner.

    An owner answers such a question at once, whatever its model does, unless that keeps all of Python
    waiting: so one that does not answer has the time that a call of the model may take.
    """

    listens_s = _LISTENS_S

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._asked: float | None = None
        self._ended = False

    def heard(self) -> None:
        """Note a word of the owner's, or that there is a new one."""
        self._asked, self._ended = None, False

    def ask(self, owner: Owner) -> None:
        """Ask an owner that has been silent, and end one that has not answered for too long.

        Raises:
            TimeoutError: it was ended, and is there all the same: it waits in a driver that hangs (D state).
        """
        now = time.monotonic()
        if self._ended:
            raise TimeoutError
        if self._asked is None:
            self._asked = now
            with contextlib.suppress(OSError):
                owner.link.ask()
        elif now - self._asked > self._limit_s or (
            now - self._asked > _STOPPED_S and sweep.stands_still(owner.pid)
        ):
            sweep.end_family(owner.pid)
            self._ended = True
