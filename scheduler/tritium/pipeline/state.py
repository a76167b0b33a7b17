"""Where a run stands, on disk: which stages are finished, and who is running now.

A record is written in one piece after its stage's output is safe, so a run that was killed at any
moment finds either a finished stage or none. What an unfinished stage left is swept away.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

from tritium.errors import AlreadyRunning
from tritium.pipeline.results import Record, StageName, Unreadable, from_json, to_json
from tritium.store.disk import Disk

__all__ = ["State", "alone", "key_of"]

_FORMAT = 1
"""Part of every key: records of an older layout never count as finished."""


def key_of(**depends_on: object) -> str:
    """Hash what a stage depends on: its part of the file, code, inputs, and what came before.

    >>> key_of(stage={"ranks": 2}, code="ab") == key_of(code="ab", stage={"ranks": 2})
    True
    >>> key_of(stage={"ranks": 2}) == key_of(stage={"ranks": 3})
    False
    """
    text = json.dumps({"format": _FORMAT, **depends_on}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def alone(root: Path, *, what: str) -> Iterator[None]:
    """Be the only one who works in a folder; the kernel ends this with the process, however it ends.

    Raises:
        AlreadyRunning: somebody else is; the sentence says who.
    """
    root.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            other = os.pread(descriptor, 32, 0).decode().strip() or "unknown"
            raise AlreadyRunning(
                f"{what} is in use by another run (pid {other}); wait for it or end it"
            ) from err
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


class State:
    """The records of finished stages, and the folders of attempts, of one pipeline."""

    def __init__(self, root: Path, *, disk: Disk) -> None:
        self._root = root
        self._disk = disk

    def record(self, stage: StageName) -> Record | None:
        """Return a stage's record; one that cannot be read counts as none, so the stage runs again."""
        try:
            return from_json(Record, self._file(stage).read_text())
        except (FileNotFoundError, Unreadable):
            return None

    def records(self) -> Mapping[StageName, Record]:
        """Return all records, in the order of the stages."""
        found = {stage: self.record(stage) for stage in get_args(StageName)}
        return {stage: record for stage, record in found.items() if record is not None}

    def finish(self, record: Record) -> None:
        """Keep a record: from now on its stage is finished."""
        self._disk.write(self._file(record.stage), to_json(record).encode())

    def forget(self) -> None:
        """Make every stage unfinished, the last one first: no record ever stands on a missing one."""
        for stage in reversed(get_args(StageName)):
            self._file(stage).unlink(missing_ok=True)
        self.forget_checkpoints()

    def checkpoints(self, key: str) -> Path:
        """Return where training with this key keeps its checkpoints, and forget those of any other."""
        place = self._root / "checkpoints" / key
        for other in place.parent.glob("*"):
            if other != place:
                shutil.rmtree(other, ignore_errors=True)
        return place

    def forget_checkpoints(self) -> None:
        """Remove all checkpoints: the model stands for them."""
        shutil.rmtree(self._root / "checkpoints", ignore_errors=True)

    def attempt(self, what: str) -> Path:
        """Return an empty folder for what is written before it is finished.

        No two attempts share one: a rank of a killed run may live, and write, a moment longer than it.
        """
        folder = self._root / "attempts" / f"{what}-{secrets.token_hex(4)}"
        folder.mkdir(parents=True)
        return folder

    def sweep(self) -> None:
        """Remove what unfinished stages left."""
        shutil.rmtree(self._root / "attempts", ignore_errors=True)

    def _file(self, stage: StageName) -> Path:
        return self._root / "stages" / f"{stage}.json"
