"""Edge in an owner: the tasks that feed it, and what they are owed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tritium.infer.forms import cut
from tritium.infer.link import Link
from tritium.infer.memory import Extent, Memory, read

__all__ = ["Guest", "Work"]


@dataclass(slots=True, eq=False)
class Guest:
    """One task that feeds this owner."""

    link: Link
    views: dict[int, memoryview] = field(default_factory=dict)
    answers: dict[int, Memory] = field(default_factory=dict)

    def say(self, message: Any, descriptors: Sequence[int] = ()) -> None:
        """Send; who has gone, or does not listen, is left, and finds another owner if it lives."""
        try:
            self.link.send(message, descriptors)
        except OSError:
            self.link.hang_up()


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One batch that is to be answered."""

    guest: Guest
    slot: int
    rows: int
    where: Extent
    within: tuple[int, int] | None
    """Only these rows are asked for."""
    view: memoryview
    came: float

    def columns_and_rows(self) -> tuple[Any, int]:
        """What is asked for, in the memory itself, and how many rows it is."""
        columns = read(self.view, self.where)
        if self.within is None:
            return columns, self.rows
        begin, end = self.within
        return cut(columns, slice(begin, end)), end - begin
