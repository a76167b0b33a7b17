"""Edge to the store of a gang's checkpoints: saved whole, in one write, by the newest attempt only."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tritium.errors import CannotPublish
from tritium.store.objects import Damaged, ObjectId, Store
from tritium.store.pointer import Pointer
from tritium.store.remote import RemoteStore, opened
from tritium.train import book
from tritium.train.book import Book, Saved

__all__ = ["Checkpoint", "Checkpoints", "Content", "begin"]

Content = Path | Mapping[str, bytes]
"""A folder, a file, or files by name."""

_TRIES = 20
"""How often somebody else may move the pointer first: two who write at once are a mistake already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A complete checkpoint that was found."""

    step: int
    folders: tuple[Path, ...]
    """One, or with ``together`` one of every rank that saved it, by rank."""

    @property
    def path(self) -> Path:
        """The folder with its files, which must not be changed; the first if there are several."""
        return self.folders[0]


def begin(where: str) -> Book:
    """Open the checkpoints at a path or URL for a new attempt; every earlier one is shut out from now on.

    Here it is decided, once for all ranks, where to go on: a checkpoint is read to its end, and what is not
    what was saved does not count any more.

    Raises:
        BadSpec: see `tritium.store.remote.opened`.
        CannotPublish: the store would not take it.
    """
    store = opened(where)
    # Before: what is there later may be of an attempt that has begun after this one.
    there = set(store.objects())
    _, now = _moved(store, lambda old: book.begin(replace(old, saved=_up_to_whole(store, old.saved))))
    # What earlier attempts left half done, and cannot complete any more.
    store.sweep()
    for name in there - book.objects(now):
        store.drop(name)
    return now


class Checkpoints:
    """The checkpoints of one attempt: those before it, and those that this process saves.

    Args:
        where: path or URL.
        known: what `begin` found; the same for every rank, so all go on at the same step.
        scratch: folder of this process's own, for copies.
    """

    def __init__(self, where: str, *, known: Book, scratch: Path) -> None:
        self._store = opened(where)
        self._known = self._found = known
        self._scratch = scratch

    def put(self, content: Content) -> ObjectId:
        """Bring a part of a checkpoint to the store; it does not count before `commit`.

        Raises:
            CannotPublish: the store would not take it.
        """
        if isinstance(content, Path) and content.is_dir():
            return self._store.put(content)
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            files = content if isinstance(content, Mapping) else {content.name: content.read_bytes()}
            for name, data in files.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            return self._store.put(Path(folder))

    def commit(self, step: int, parts: tuple[ObjectId, ...]) -> None:
        """Make parts that are in the store a complete checkpoint.

        Raises:
            StaleAttempt: a later attempt has begun.
        """
        self._change(lambda now: book.add(now, Saved(step=step, parts=parts), attempt=self._known.attempt))

    def saw(self, step: int, parts: tuple[ObjectId, ...]) -> None:
        """Learn of a checkpoint that another rank completed."""
        self._known = book.add(self._known, Saved(step=step, parts=parts), attempt=self._known.attempt)

    def latest(self) -> Checkpoint | None:
        """Fetch the last complete checkpoint.

        Raises:
            Damaged: its files are not what was saved, though they were when the attempt began. To fall back
                to an older one is no rank's decision: the others may have read this one.
        """
        if not self._known.saved:
            return None
        saved = self._known.saved[-1]
        folders = tuple(self._store.fetch(part, into=self._scratch) for part in saved.parts)
        return Checkpoint(step=saved.step, folders=folders)

    def prune(self, *, keep: int) -> None:
        """Remove all checkpoints but the last ``keep``.

        The files of those that the attempt began with stay until the next begins: a slower rank may
        still have to read them.

        Raises:
            StaleAttempt: a later attempt has begun.
        """
        before, after = self._change(lambda now: book.keep(now, keep, attempt=self._known.attempt))
        for name in book.unused(before, after) - book.objects(self._found):
            self._store.drop(name)

    def _change(self, change: Callable[[Book], Book]) -> tuple[Book, Book]:
        before, after = _moved(self._store, change)
        self._known = after
        return before, after


def _up_to_whole(store: Store | RemoteStore, saved: tuple[Saved, ...]) -> tuple[Saved, ...]:
    """Leave out what was saved after the last checkpoint whose files are what was saved."""
    for count in range(len(saved), 0, -1):
        with contextlib.suppress(Damaged), tempfile.TemporaryDirectory() as folder:
            for part in saved[count - 1].parts:
                store.fetch(part, into=Path(folder))
            return saved[:count]
    return ()


def _moved(store: Store | RemoteStore, change: Callable[[Book], Book]) -> tuple[Book, Book]:
    """Move the pointer by a decision that is taken anew whenever somebody else moved it first."""
    pointer = Pointer(store, "checkpoints")
    for _ in range(_TRIES):
        try:
            number, content = pointer.read()
            before = book.from_bytes(content)
            after = change(before)
            if pointer.move(book.to_bytes(after), after=number):
                return before, after
        except OSError as err:
            raise CannotPublish(f"the pointer to the checkpoints cannot be moved: {err}") from err
    raise CannotPublish(f"others moved the pointer to the checkpoints {_TRIES} times in a row")
