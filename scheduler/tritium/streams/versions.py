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

    def of_batch(self, batch: int) -> str:
        """Name the version of a batch: the recorded one, else what serves now, recorded from now on.

        Called by each task of the batch, and again by those of a repeated batch: the first one decides.

        Raises:
            VerifyFailed: no version has passed yet.
        """
        record = self.state / "batches" / str(batch)
        if (known := _text(record)) is not None:
            return known
        version = self.serving()
        if version is None:
            raise VerifyFailed(f"no version of the model in {self.models} has passed its check yet")
        draft = _draft(record, version)
        try:
            os.link(draft, record)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        (self.state / "batches" / str(batch - _KEPT)).unlink(missing_ok=True)
        return _text(record) or version

    def path_of_batch(self, batch: int) -> Path:
        """Say where the files of a batch's version are."""
        return self.path(self.of_batch(batch))

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
            _write(self.state / "serving", wanted)
            return None
        _write(self.state / "rejected" / wanted, why)
        if serving is not None and _text(self.pointer) == wanted:
            _write(self.pointer, serving)
        return f"version {wanted} of the model was rejected: {why}"


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
