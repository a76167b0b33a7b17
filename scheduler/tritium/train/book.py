"""Decides which checkpoints count: what is complete, which attempt may write, what may be thrown away."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

from tritium.errors import StaleAttempt
from tritium.store.objects import ObjectId

__all__ = ["Book", "Saved", "add", "begin", "from_bytes", "keep", "objects", "to_bytes", "unused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """One complete checkpoint."""

    step: int
    parts: tuple[ObjectId, ...]
    """One object, or one of every rank, by rank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """All complete checkpoints of a gang, and who may add to them: what the pointer says."""

    attempt: int = 0
    """Number of the newest attempt, over all runs: a lower one may not write any more."""
    saved: tuple[Saved, ...] = ()
    """In the order in which they were saved: the last is where to go on."""


def begin(book: Book) -> Book:
    """Let a new attempt begin, which shuts out all earlier ones.

    >>> begin(Book()).attempt
    1
    """
    return replace(book, attempt=book.attempt + 1)


def add(book: Book, saved: Saved, *, attempt: int) -> Book:
    """Add a checkpoint, in place of the one of the same step that may be there.

    Raises:
        StaleAttempt: a later attempt has begun.
    """
    _refuse_stale(book, attempt)
    return replace(book, saved=(*(old for old in book.saved if old.step != saved.step), saved))


def keep(book: Book, count: int, *, attempt: int) -> Book:
    """Forget all checkpoints but the last ``count``.

    Raises:
        StaleAttempt: a later attempt has begun.
    """
    _refuse_stale(book, attempt)
    return replace(book, saved=book.saved[-count:])


def unused(before: Book, after: Book) -> set[ObjectId]:
    """Name the objects that no checkpoint needs any more.

    >>> one, two = (Saved(step=n, parts=(ObjectId("same"), ObjectId(f"own {n}"))) for n in (1, 2))
    >>> unused(Book(saved=(one, two)), Book(saved=(two,)))
    {'own 1'}
    """
    return objects(before) - objects(after)


def objects(book: Book) -> set[ObjectId]:
    """Name the objects of all checkpoints."""
    return {part for saved in book.saved for part in saved.parts}


def to_bytes(book: Book) -> bytes:
    """Write a book as JSON."""
    return json.dumps(asdict(book)).encode()


def from_bytes(content: bytes | None) -> Book:
    """Read a book back; nothing written is an empty one.

    >>> book = Book(attempt=2, saved=(Saved(step=7, parts=(ObjectId("ab"),)),))
    >>> from_bytes(to_bytes(book)) == book
    True
    """
    if content is None:
        return Book()
    read = json.loads(content)
    saved = tuple(
        Saved(step=one["step"], parts=tuple(ObjectId(part) for part in one["parts"])) for one in read["saved"]
    )
    return Book(attempt=read["attempt"], saved=saved)


def _refuse_stale(book: Book, attempt: int) -> None:
    if book.attempt != attempt:
        raise StaleAttempt(
            f"attempt {attempt} may not write checkpoints any more: attempt {book.attempt} has begun"
        )
