"""Drains: whoever holds a device is asked to give it up, with a deadline.

What is asked stands in the hold's own file, behind the holder's note: no socket that could be stale, and
any user of the directory may ask. It is addressed to one holder, so the next one never hears it. A
holder that says ``drain_s`` in its note looks there a few times a second; all others are only waited for.
What was asked for stays promised to who asked until a while after the deadline: whoever gave way, and is
less important, does not take it back in the moment in which it is free.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tritium_discovery import holds
from tritium_discovery.observation import Uuid
from tritium_discovery.state import open_plain

__all__ = ["Ask", "Drainable", "ask", "promised"]

_OFFSET = 4096
"""Behind the holder's note."""
_MOST_BYTES = 4096
_MOST_WORDS = 500
_PROMISED_S = 5.0
"""How long after the deadline a device stays promised: a gang that waits looks again every half second."""


class Ask(NamedTuple):
    """Somebody needs the device."""

    by: str
    """E.g. ``rank 0 of gang 7c1e``."""
    deadline: float
    """Until when the device should be free, in seconds since the epoch."""
    priority: int = 0
    """How important the asker is: the device is promised to it before all that is less so."""


def ask(
    uuid: Uuid, *, by: str, within_s: float, directory: Path, priority: int = 0, of: str | None = None
) -> holds.Holder | None:
    """Ask the holder of a device to give it up within ``within_s``; does not wait.

    Returns who was asked, or ``None`` if nobody holds the device, its holder never gives way, or it is not
    the one that was decided on (``of``, as ``str`` of a `Holder`). To ask again is to ask once: the earlier
    deadline counts, and the more important asker.

    Raises:
        BadState: a file in ``directory`` is not what it should be.
        TimedOut: the host's lock could not be had.
    """
    holder = holds.held(directory).get(uuid)
    if holder is None or holder.drain_s is None or of not in (None, str(holder)):
        return None
    deadline = time.time() + within_s
    fileno = open_plain(holds.hold_file(directory, uuid), os.O_RDWR, mode=0)
    try:
        asked = Ask(by=by[:_MOST_WORDS], deadline=deadline, priority=priority)
        before = _read(fileno, holder.since) or asked
        first = min(before, asked, key=lambda one: (-one.priority, one.deadline))
        says = {**first._asdict(), "deadline": min(before.deadline, deadline), "to": holder.since}
        os.pwrite(fileno, json.dumps(says).encode().ljust(_MOST_BYTES), _OFFSET)
    finally:
        os.close(fileno)
    return holder


def promised(directory: Path) -> Mapping[Uuid, Ask]:
    """Return which devices were asked for, and by whom, that nobody new has taken since, nor is too late for.

    Raises:
        BadState: a file in ``directory`` is not what it should be.
    """
    now = time.time()
    asks = {
        uuid: _read(fileno, holds.read_note(fileno).since) for uuid, fileno in holds.hold_files(directory)
    }
    return {uuid: ask for uuid, ask in asks.items() if ask is not None and now < ask.deadline + _PROMISED_S}


class Drainable:
    """The holder's side: devices that this process holds and gives up when it is asked to.

    >>> def serve(hold, model):
    ...     drainable = Drainable(hold.filenos, what="owner of model 3f", drain_s=5.0)
    ...     while drainable.asked() is None:
    ...         model.answer_next()
    ...     model.unload()
    ...     hold.close()
    """

    def __init__(
        self, filenos: Sequence[int], *, what: str, drain_s: float, priority: int | None = None
    ) -> None:
        self._filenos, self._what, self._drain_s, self._priority = tuple(filenos), what, drain_s, priority
        self._since = holds.adopt(filenos, what=what, drain_s=drain_s, priority=priority)

    def weigh(self, priority: int | None) -> None:
        """Say who may ask from now on: only somebody more important, or with ``None`` anybody."""
        if priority != self._priority:
            self._priority = priority
            holds.adopt(
                self._filenos,
                what=self._what,
                drain_s=self._drain_s,
                priority=priority,
                since=self._since,
            )

    def asked(self) -> Ask | None:
        """Look whether somebody has asked for one of the devices; the earliest deadline, if several did."""
        asks = [found for fileno in self._filenos if (found := _read(fileno, self._since)) is not None]
        return min(asks, key=lambda one: one.deadline, default=None)


def _read(fileno: int, to: float) -> Ask | None:
    """What a holder is asked; anybody may have written it, so anything may be in it."""
    try:
        found = json.loads(os.pread(fileno, _MOST_BYTES, _OFFSET))
        ask = Ask(by=str(found["by"]), deadline=float(found["deadline"]), priority=int(found["priority"]))
        return ask if float(found["to"]) == to else None
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
