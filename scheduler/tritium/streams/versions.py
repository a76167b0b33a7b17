"""Which version of a model a micro-batch uses: recorded with the batch, so that a repeated one uses it again.

The versions are objects of a store, such as the one that ``tritium run`` keeps, and its pointer names the one
that is wanted. It serves once it was checked; one that fails is rejected, and the pointer goes back to what
serves. The rest are small files that appear whole. Driver and executors share both folders.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tritium.errors import CannotPublish, VerifyFailed
from tritium.store.disk import LocalDisk
from tritium.store.objects import ObjectId, Store

__all__ = ["Versions"]

_KEPT = 1000
"""Records of batches; Spark itself can repeat only the last one."""
_SERVED = 10
"""Versions that may serve again when newer ones are rejected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """The versions of one stream's model."""

    store: Path
    """What a pipeline keeps, e.g. ``.tritium/digits``, or a store of your own (`publish`)."""
    state: Path
    """A folder of our own."""
    pointer: str = "model"
    """The store's pointer to the version to use; ``tritium run`` moves ``model`` to what it has verified."""

    def __post_init__(self) -> None:
        """Mean the same folders in tasks, which run in other working directories."""
        for name in ("store", "state"):
            object.__setattr__(self, name, getattr(self, name).absolute())

    def publish(self, files: Path) -> str:
        """Put a folder of files into the store as a version and let the pointer name it, without a pipeline.

        Raises:
            CannotPublish: the disk would not take it, or somebody else moved the pointer meanwhile.
        """
        store, before = self._store(), self.wanted()
        version = store.put(files)
        store.point(self.pointer, version, expected=before)
        return version

    def path(self, version: str) -> Path:
        """Say where a version's files are."""
        return self._store().path(ObjectId(version))

    def wanted(self) -> ObjectId | None:
        """Name the version that the pointer names; ``None`` if it was never moved."""
        return self._store().target(self.pointer)

    def serving(self) -> str | None:
        """Name the version that new batches use: the newest that passed and was not rejected since."""
        return next(reversed(self._served()), None)

    def rejected(self, version: str) -> str | None:
        """Say why a version was rejected, if it was."""
        return _text(self.state / "rejected" / version)

    def current(self) -> Path:
        """Say where the version that the pointer names is, for a batch job: ``predict(model_path=...)``.

        Raises:
            VerifyFailed: it names none, or one that was rejected.
        """
        version = self.wanted()
        if version is None:
            raise VerifyFailed(f"the pointer {self.pointer} of the store {self.store} names no model")
        if (why := self.rejected(version)) is not None:
            raise VerifyFailed(_rejected(version, why))
        return self.path(version)

    def of_batch(self, query: str, batch: int) -> str:
        """Name the version of a query's batch: the recorded one, else what serves now, recorded from now on.

        Called by each task of the batch, and again by those of a repeated batch: the first one decides.
        A recorded version that was rejected since is not used again, so another is recorded. A sink may have
        the batch's rows by the rejected one already, where only Spark's note of that was lost: a table then
        keeps them, and a topic gets the other version's answers too, with the same ids.

        Raises:
            VerifyFailed: no version has passed yet.
        """
        folder = self.state / "batches" / query
        again = 0
        while self.rejected(version := self._recorded(folder / f"{batch}.{again}")) is not None:
            again += 1
        for old in folder.glob(f"{batch - _KEPT}.*"):
            old.unlink(missing_ok=True)
        return version

    def _recorded(self, record: Path) -> str:
        """Read a record, which is written first if there is none."""
        if (known := _text(record)) is not None:
            return known
        version = self.serving()
        if version is None:
            raise VerifyFailed(f"no version of the model in {self.store} has passed its check yet")
        draft = _draft(record, version)
        try:
            os.link(draft, record)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        return _text(record) or version

    def path_of_batch(self, query: str, batch: int) -> Path:
        """Say where the files of a batch's version are."""
        return self.path(self.of_batch(query, batch))

    def reject(self, version: str, why: str) -> None:
        """Take a version out that passed but does not work; the newest of the others serves again.

        A stream that failed on it goes on when it is started again: its batch gets another version.

        Raises:
            CannotPublish: the pointer cannot go back.
        """
        _write(self.state / "rejected" / version, why)
        self._go_back(version)

    def look(self, check: Callable[[Path], str | None]) -> str | None:
        """Check what the pointer names if that is new, and let it serve or roll the pointer back.

        ``check`` returns what is wrong with a model, or ``None``. Returns the sentence of a rejection.
        """
        wanted = self.wanted()
        if wanted is None or wanted == self.serving():
            return None
        why = self.rejected(wanted)
        if why is None and not self._store().whole(wanted):
            why = f"{self.path(wanted)} is not whole"
        # Somebody else may have rejected it while its check was at work.
        why = why or check(self.path(wanted)) or self.rejected(wanted)
        if why is None:
            self._serve(self._served(), newest=wanted)
            return None
        _write(self.state / "rejected" / wanted, why)
        sentence = _rejected(wanted, why)
        try:
            self._go_back(wanted)
        except CannotPublish as err:  # somebody moved it on, or what serves is damaged on the disk
            return f"{sentence}; {err}"
        return sentence

    def _go_back(self, rejected: str) -> None:
        """Let the newest version that is whole serve, and be what a pointer to the rejected one names."""
        if not (served := self._served()):
            return
        newest = next((old for old in reversed(served) if self._store().whole(old)), served[-1])
        self._serve(served, newest=newest)
        if self.wanted() == rejected:
            self._store().point(self.pointer, newest, expected=ObjectId(rejected))

    def _served(self) -> list[ObjectId]:
        """List what has served and was not rejected, the newest last."""
        served = (_text(self.state / "served") or "").split()
        return [ObjectId(version) for version in served if self.rejected(version) is None]

    def _serve(self, served: list[ObjectId], *, newest: ObjectId) -> None:
        """Write down what has served."""
        older = [version for version in served if version != newest]
        _write(self.state / "served", "\n".join([*older, newest][-_SERVED:]))

    def _store(self) -> Store:
        return Store(self.store, disk=LocalDisk())


def _rejected(version: str, why: str) -> str:
    return f"version {version} of the model was rejected: {why}"


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None


def _draft(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    draft.write_text(f"{text}\n", encoding="utf-8")
    return draft


def _write(path: Path, text: str) -> None:
    _draft(path, text).replace(path)
