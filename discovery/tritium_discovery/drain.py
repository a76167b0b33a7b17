"""Drains: whoever holds a device, or a share of it, is asked to give it up, with a deadline.

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
) -> tuple[holds.Holder, ...]:
    """Ask the holder of a device, or all that share it, to give it up within ``within_s``; does not wait.

    Returns who was asked: nobody if nobody holds the device, or its holders never give way; only the one
    that was decided on (``of``, the ``name`` of a `Holder`), if one was. To ask again is to ask once: the
    earlier deadline counts, and the more important asker.

    Raises:
        BadState: a file in ``directory`` is not what it should be.
        TimedOut: the host's lock could not be had.
    """
    asked = Ask(by=by[:_MOST_WORDS], deadline=time.time() + within_s, priority=priority)
    able = [
        (path, holder)
        for path, holder in holds.holders(directory, uuid)
        if holder.drain_s is not None and of in (None, holder.name)
    ]
    for path, holder in able:
        fileno = open_plain(path, os.O_RDWR, mode=0)
        try:
            _write(fileno, asked, to=holder.since)
        finally:
            os.close(fileno)
    return tuple(holder for _, holder in able)


def _write(fileno: int, asked: Ask, *, to: float) -> None:
    before = _read(fileno, to) or asked
    first = min(before, asked, key=lambda one: (-one.priority, one.deadline))
    says = {**first._asdict(), "deadline": min(before.deadline, asked.deadline), "to": to}
    os.pwrite(fileno, json.dumps(says).encode().ljust(_MOST_BYTES), _OFFSET)


def promised(directory: Path) -> Mapping[Uuid, Ask]:
    """Return which devices were asked for, and by whom, that nobody new has taken since, nor is too late for.

    Of those who asked the sharers of a device it is the most important.

    Raises:
        BadState: a file in ``directory`` is not what it should be.
    """
    now = time.time()
    whole_since: dict[Uuid, float] = {}
    asks: dict[Uuid, Ask] = {}
    for file in holds.hold_files(directory):
        since = holds.read_note(file.fileno).since
        if file.mib is None:
            whole_since[file.uuid] = since
        asked = _read(file.fileno, since)
        over = since < whole_since.get(file.uuid, since)  # who asked the sharers, or another, had it since
        if asked is None or over or now >= asked.deadline + _PROMISED_S:
            continue
        asks[file.uuid] = min(
            asks.get(file.uuid, asked), asked, key=lambda one: (-one.priority, one.deadline)
        )
    return asks


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
