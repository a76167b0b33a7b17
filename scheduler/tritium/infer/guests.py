"""Edge in an owner: the tasks that call and feed it, and what they are owed."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tritium.infer.forms import cut
from tritium.infer.link import Link
from tritium.infer.memory import Extent, Memory, Original
from tritium.train.peer import is_ours

__all__ = ["Door", "Guest", "Work"]

_SEND_LIMIT_S = 20
"""How long a task may take to hear an answer before it is left."""


class Door:
    """Where tasks call; one that calls and says nothing keeps nobody waiting."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._callers: dict[int, Link] = {}
        self._called = -math.inf

    @property
    def expects(self) -> bool:
        """Whether somebody who called a moment ago has yet to say something."""
        return bool(self._callers) and time.monotonic() - self._called < _SEND_LIMIT_S

    @property
    def filenos(self) -> list[int]:
        """What to listen at for those who call."""
        return [*self._callers, self._listener.fileno()]

    def opened(self, fileno: int) -> tuple[Link, int, str] | None:
        """Hear of a caller; once it asks to be one of at most so many guests, it is to be answered."""
        if fileno == self._listener.fileno():
            raw, _ = self._listener.accept()
            raw.settimeout(_SEND_LIMIT_S)
            self._callers[raw.fileno()] = Link(raw)
            self._called = time.monotonic()
            return None
        link = self._callers.pop(fileno)
        with contextlib.suppress(OSError, EOFError):
            if is_ours(link.socket):
                (word, most, call), _ = link.receive()
                if word == "attach":
                    return link, most, call
        link.close()
        return None

    def close(self) -> None:
        """Be found no more; who has called and said nothing hears it hang up."""
        self._listener.close()
        while self._callers:
            self._callers.popitem()[1].close()


@dataclass(slots=True, eq=False)
class Guest:
    """One task that feeds this owner."""

    link: Link
    call: str
    """The call of ``predict`` that it is a part of."""
    life: int
    """A descriptor that says when its process ends: what that has forked may have the link, and live on."""
    originals: dict[int, Original] = field(default_factory=dict)
    answers: dict[int, Memory] = field(default_factory=dict)

    def say(self, message: Any, descriptors: Sequence[int] = ()) -> None:
        """Send; who has gone, or does not listen, is left, and finds another owner if it lives."""
        try:
            self.link.send(message, descriptors)
        except OSError:
            self.link.hang_up()

    def close(self) -> None:
        """Let go of it."""
        self.link.close()
        os.close(self.life)

    def hear(self) -> Work | None:
        """Take in a batch; ``None`` where it only asked whether somebody is here, and was answered.

        Raises:
            Exception: it has gone, or says what cannot be read.
        """
        message, descriptors = self.link.receive()
        if message is None:
            self.say(("here", None))
            return None
        slot, rows, where, within = message
        for descriptor in descriptors:
            self.originals[slot] = Original(descriptor)
        return Work(
            guest=self,
            slot=slot,
            rows=rows,
            where=where,
            within=within,
            original=self.originals[slot],
            came=time.monotonic(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One batch that is to be answered."""

    guest: Guest
    slot: int
    rows: int
    where: Extent
    within: tuple[int, int] | None
    """Only these rows are asked for."""
    original: Original
    came: float

    @property
    def asked(self) -> int:
        """How many rows are asked for."""
        return self.rows if self.within is None else self.within[1] - self.within[0]

    def columns(self) -> Any:
        """What is asked for, in the memory itself, and as it was sent: what was changed of it is dropped."""
        columns = self.original.read(self.where)
        return columns if self.within is None else cut(columns, slice(*self.within))
