"""The edge to the local disk: the four writes that whatever must survive a crash is made of."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Protocol

__all__ = ["Disk", "LocalDisk"]


class Disk(Protocol):
    """Durable writes: each happens whole or not at all, and is on the disk when it returns."""

    def write(self, path: Path, content: bytes) -> None:
        """Put a file in place of the one that may be there."""

    def create(self, path: Path, content: bytes) -> bool:
        """Make a new file; returns False, and changes nothing, if there is one of that name."""

    def move(self, tree: Path, target: Path) -> None:
        """Give a folder, all of it, its final name.

        Raises:
            OSError: something is there already.
        """

    def link(self, path: Path, target: Path) -> None:
        """Make a symbolic link, in place of the one that may be there."""


class LocalDisk:
    """A POSIX file system: what is written is flushed first, then renamed, then the folder is flushed."""

    def write(self, path: Path, content: bytes) -> None:
        """See `Disk.write`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = _beside(path)
        partial.write_bytes(content)
        _flush(partial)
        partial.rename(path)
        _flush(path.parent)

    def create(self, path: Path, content: bytes) -> bool:
        """See `Disk.create`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = _beside(path)
        try:
            partial.write_bytes(content)
            _flush(partial)
            # Unlike a rename, a link never takes the place of what is there.
            path.hardlink_to(partial)
        except FileExistsError:
            return False
        finally:
            partial.unlink(missing_ok=True)
        _flush(path.parent)
        return True

    def move(self, tree: Path, target: Path) -> None:
        """See `Disk.move`."""
        target.parent.mkdir(parents=True, exist_ok=True)
        for folder, _, files in os.walk(tree):
            for name in files:
                _flush(Path(folder, name))
            _flush(Path(folder))
        tree.rename(target)
        _flush(target.parent)

    def link(self, path: Path, target: Path) -> None:
        """See `Disk.link`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = _beside(path)
        partial.symlink_to(target)
        partial.rename(path)
        _flush(path.parent)


def _beside(path: Path) -> Path:
    """Name a file that no reader takes for the real one: Spark and pyarrow skip a leading dot."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
