"""A sink that readers may open at any time: its path is a link to the newest whole version.

Versions are written beside it, in a hidden folder; publishing one is a single rename of a link. A
reader that has opened the one before keeps reading it: the last two are kept.
"""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

from tritium.errors import CannotPublish
from tritium.store.disk import Disk

__all__ = ["ParquetSink"]

_KEPT = 2


class ParquetSink:
    """A folder of Parquet files that appears whole."""

    def __init__(self, path: Path, *, disk: Disk) -> None:
        self.path = path
        self._disk = disk
        self.versions = path.with_name(f".{path.name}.versions")
        """The folder of all versions; also what a run locks while it writes."""

    def check(self) -> None:
        """Make sure that publishing can succeed, before hours go into what would be published.

        Raises:
            CannotPublish: there is something at the path that Tritium did not make.
        """
        if self.path.exists() and not self.path.is_symlink():
            raise CannotPublish(
                f"{self.path} exists and is not a sink of Tritium's: move it, or name another path"
            )

    def begin(self) -> Path:
        """Return the path, not there yet, of a new version that nobody reads."""
        self.versions.mkdir(parents=True, exist_ok=True)
        return self.versions / f".{secrets.token_hex(6)}"

    def keep(self, written: Path) -> str:
        """Make a written version durable; returns its name, for `publish`."""
        version = written.name.removeprefix(".")
        self._disk.move(written, self.versions / version)
        return version

    def has(self, version: str) -> bool:
        """Whether a version was kept, and is there still."""
        return bool(version) and (self.versions / version).is_dir()

    def publish(self, version: str) -> None:
        """Let readers see a version that was kept; nothing happens if they do already.

        Raises:
            CannotPublish: see `check`.
        """
        self.check()
        target = Path(self.versions.name, version)
        if not self.path.is_symlink() or self.path.readlink() != target:
            self._disk.link(self.path, target)
        self._sweep(version)

    def _sweep(self, version: str) -> None:
        """Remove what killed runs left, and all versions but this one and the one before."""
        others = [path for path in self.versions.iterdir() if path.is_dir() and path.name != version]
        unfinished = [path for path in others if path.name.startswith(".")]
        finished = sorted(set(others) - set(unfinished), key=lambda path: path.stat().st_mtime)
        for path in (*unfinished, *finished[: 1 - _KEPT]):
            shutil.rmtree(path, ignore_errors=True)
