"""A pointer that moves by one exclusive write, so that of two who move it at once only one succeeds.

It is a row of small numbered entries, never changed and never removed; the highest counts. To move it is
to create the next number, which fails if somebody else did: POSIX file systems and object stores both
offer that (``link``; ``If-None-Match: *``), where neither a rename nor a lock works on all of them.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["Entries", "Pointer"]


class Entries(Protocol):
    """Where entries are kept; each appears whole or not at all, and is durable when written."""

    def entries(self, pointer: str) -> list[int]:
        """List the numbers of a pointer's entries, in any order."""

    def read(self, pointer: str, number: int) -> bytes:
        """Return an entry."""

    def append(self, pointer: str, number: int, content: bytes) -> bool:
        """Create an entry; returns False, and changes nothing, if its number is taken."""


class Pointer:
    """One pointer by its name."""

    def __init__(self, kept: Entries, name: str) -> None:
        self._kept = kept
        self._name = name

    def read(self) -> tuple[int, bytes | None]:
        """Return the number of its moves so far and what it says; ``(0, None)`` if it was never moved."""
        number = max(self._kept.entries(self._name), default=0)
        return number, self._kept.read(self._name, number) if number else None

    def move(self, content: bytes, *, after: int) -> bool:
        """Let it say something else, if nobody moved it since its move number ``after``."""
        return self._kept.append(self._name, after + 1, content)
