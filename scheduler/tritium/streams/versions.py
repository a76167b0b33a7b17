"""Which version of a model a micro-batch uses: recorded with the batch, so that a repeated one uses it again.

Everything is a small file that appears whole, in folders that driver and executors share. A pointer names
the version that is wanted; it serves once it was checked. One that fails is rejected, and the pointer goes
back to what serves.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tritium.errors import VerifyFailed

__all__ = ["Versions"]

_KEPT = 1000
"""Records of batches; Spark itself can repeat only the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """The versions of one stream's model."""

    models: Path
    """A folder with one folder per version, e.g. ``.tritium/digits/objects``."""
    pointer: Path
    """A file that names the version to use, e.g. ``.tritium/digits/pointers/model``; others move it."""
    state: Path
    """A folder of our own."""

    def path(self, version: str) -> Path:
        """Say where a version's files are."""
        return self.models / version

    def serving(self) -> str | None:
        """Name the version that new batches use; ``None`` before the first was checked."""
        return _text(self.state / "serving")

    def rejected(self, version: str) -> str | None:
        """Say why a version was rejected, if it was."""
        return _text(self.state / "rejected" / version)

    def of_batch(self, query: str, batch: int) -> str:
        """Name the version of a query's batch: the recorded one, else what serves now, recorded from now on.

        Called by each task of the batch, and again by those of a repeated batch: the first one decides.
        A recorded version that was rejected since has answered no whole batch, so another is recorded.

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
        if version is None or self.rejected(version) is not None:
            raise VerifyFailed(f"no version of the model in {self.models} has passed its check yet")
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
        """Take a version out that passed but does not work; what served before it serves again.

        A stream that failed on it goes on when it is started again: its batch gets another version.
        """
        _write(self.state / "rejected" / version, why)
        before = _text(self.state / "before")
        if self.serving() == version:
            if before is None or self.rejected(before) is not None:
                (self.state / "serving").unlink()
            else:
                _write(self.state / "serving", before)
        self._point_back(version)

    def look(self, check: Callable[[Path], str | None]) -> str | None:
        """Check what the pointer names if that is new, and let it serve or roll the pointer back.

        ``check`` returns what is wrong with a model, or ``None``. Returns the sentence of a rejection.
        """
        wanted, serving = _text(self.pointer), self.serving()
        if wanted is None or wanted == serving:
            return None
        why = self.rejected(wanted)
        if why is None and not self.path(wanted).is_dir():
            why = f"there is no {self.path(wanted)}"
        why = why or check(self.path(wanted))
        if why is None:
            if serving is not None:
                _write(self.state / "before", serving)
            _write(self.state / "serving", wanted)
            return None
        _write(self.state / "rejected" / wanted, why)
        self._point_back(wanted)
        return f"version {wanted} of the model was rejected: {why}"

    def _point_back(self, rejected: str) -> None:
        """Let the pointer name what serves, if it names what was rejected."""
        if (serving := self.serving()) is not None and _text(self.pointer) == rejected:
            _write(self.pointer, serving)


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
