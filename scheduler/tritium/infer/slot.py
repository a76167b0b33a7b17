"""Edge in a task: one place for a batch on its way to an owner and back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tritium.infer.lodging import Owner
from tritium.infer.memory import Extent, Memory

__all__ = ["Slot"]


@dataclass(slots=True)
class Slot:
    """A place for one batch on its way: this task's memory, and the owner's for the answer."""

    number: int
    memory: Memory = field(default_factory=Memory)
    rows: int = 0
    where: Extent = (0, 0)
    answers: memoryview | None = None
    known_to: Owner | None = None
    """Who has its memory, as it is now."""

    def write(self, columns: Any, rows: int) -> None:
        """Put a batch here."""
        self.where, grown = self.memory.write(columns)
        self.rows = rows
        if grown:
            self.known_to = None

    def offer(self, owner: Owner, within: tuple[int, int] | None = None) -> None:
        """Ask an owner for answers to it, or to some of its rows.

        Raises:
            OSError: the owner has gone.
        """
        message = (self.number, self.rows, self.where, within)
        owner.link.send(message, [] if self.known_to is owner else [self.memory.fileno])
        self.known_to = owner
