"""Drains: whoever holds a device is asked to give it up, with a deadline.

What is asked stands in the hold's own file, behind the holder's note: no socket that could be stale, and
any user of the directory may ask. It is addressed to one holder, so the next one never hears it. A
holder that says ``drain_s`` in its note looks there a few times a second; all others are only waited for.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tritium_discovery import holds
from tritium_discovery.observation import Uuid
from tritium_discovery.state import open_plain

__all__ = ["Ask", "Drainable", "ask"]

_OFFSET = 4096
"""Behind the holder's note."""
_MOST_BYTES = 4096
_MOST_WORDS = 500


class Ask(NamedTuple):
    """Somebody needs the device."""

    by: str
    """E.g. ``rank 0 of gang 7c1e``."""
    deadline: float
    """Until when the device should be free, in seconds since the epoch."""


def ask(uuid: Uuid, *, by: str, within_s: float, directory: Path) -> holds.Holder | None:
    """Ask the holder of a device to give it up within ``within_s``; does not wait.

    Returns who was asked, or ``None`` if nobody holds the device or its holder never gives way. To ask
    again is to ask once; the earlier deadline counts.

    Raises:
        BadState: a file in ``directory`` is not what it should be.
        TimedOut: the host's lock could not be had.
    """
    holder = holds.held(directory).get(uuid)
    if holder is None or holder.drain_s is None:
        return None
    deadline = time.time() + within_s
    fileno = open_plain(holds.hold_file(directory, uuid), os.O_RDWR, mode=0)
    try:
        before = _read(fileno, holder.since)
        if before is None or deadline < before.deadline:
            text = json.dumps({"to": holder.since, "by": by[:_MOST_WORDS], "deadline": deadline})
            os.pwrite(fileno, text.encode().ljust(_MOST_BYTES), _OFFSET)
    finally:
        os.close(fileno)
    return holder


class Drainable:
    """The holder's side: devices that this process holds and gives up when it is asked to.

    >>> def serve(hold, model):
    ...     drainable = Drainable(hold.filenos, what="owner of model 3f", drain_s=5.0)
    ...     while drainable.asked() is None:
    ...         model.answer_next()
    ...     model.unload()
    ...     hold.close()
    """

    def __init__(self, filenos: Sequence[int], *, what: str, drain_s: float) -> None:
        self._filenos = tuple(filenos)
        self._since = holds.adopt(filenos, what=what, drain_s=drain_s)

    def asked(self) -> Ask | None:
        """Look whether somebody has asked for one of the devices; the earliest deadline, if several did."""
        asks = [found for fileno in self._filenos if (found := _read(fileno, self._since)) is not None]
        return min(asks, key=lambda one: one.deadline, default=None)


def _read(fileno: int, to: float) -> Ask | None:
    """What a holder is asked; anybody may have written it, so anything may be in it."""
    try:
        found = json.loads(os.pread(fileno, _MOST_BYTES, _OFFSET))
        ask = Ask(by=str(found["by"]), deadline=float(found["deadline"]))
        return ask if float(found["to"]) == to else None
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
