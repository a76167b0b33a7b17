"""The edge to object stores, through fsspec: the same objects and pointers behind a URL."""

from __future__ import annotations

import contextlib
import inspect
from pathlib import Path
from typing import Any

from tritium.errors import BadSpec, CannotPublish
from tritium.store.disk import LocalDisk
from tritium.store.objects import Damaged, ObjectId, Store, hash_of
from tritium.store.pointer import Entries

__all__ = ["RemoteStore", "opened"]

_HADOOP = {"s3a": "s3", "s3n": "s3"}
"""How Spark's Hadoop spells a protocol -> how fsspec does."""


def opened(where: str) -> Store | RemoteStore:
    """Open the store at a local path, a ``file://`` URL, or the URL of an object store.

    Raises:
        BadSpec: nothing installed speaks that protocol, or it offers no write that a pointer could be
            made of.
    """
    protocol, separator, rest = where.partition("://")
    if not separator or protocol == "file":
        return Store(Path(rest or where), disk=LocalDisk())
    return RemoteStore(f"{_HADOOP.get(protocol, protocol)}://{rest}")


class RemoteStore:
    """The objects and pointers below one URL."""

    def __init__(self, url: str) -> None:
        try:
            from fsspec import AbstractFileSystem
            from fsspec.core import url_to_fs

            self._fs: Any
            self._fs, self._root = url_to_fs(url)
        except (ImportError, ValueError) as err:
            problem = (
                f"{url} cannot be opened: {err}; pip install 'tritium[storage]' and the store's own package"
            )
            raise BadSpec("storage", [problem]) from err
        self._url = url
        kind: Any = type(self._fs)
        write = getattr(kind, "_pipe_file", kind.pipe_file)
        # fsspec's own default looks first and writes then: two may both find nothing.
        if write is AbstractFileSystem.pipe_file or "mode" not in inspect.signature(write).parameters:
            problem = f"{url}: {kind.__name__} cannot write a file on condition that there is none"
            raise BadSpec("storage", [problem])

    def put(self, tree: Path) -> ObjectId:
        """Copy a tree of files to the store; it is there once something points to it.

        Raises:
            CannotPublish: the store would not take it.
        """
        name = hash_of(tree)
        try:
            for path in sorted(path for path in tree.rglob("*") if path.is_file()):
                self._fs.put_file(str(path), f"{self._folder(name)}/{path.relative_to(tree).as_posix()}")
        except OSError as err:
            raise CannotPublish(f"{tree} cannot be put into the store {self._url}: {err}") from err
        return name

    def fetch(self, name: ObjectId, *, into: Path) -> Path:
        """Copy an object's files into a new folder below ``into``; returns the folder.

        Raises:
            Damaged: it is not whole.
        """
        folder, target = self._folder(name), into / name
        for path in self._fs.find(folder):
            file = target / path.removeprefix(f"{folder}/")
            file.parent.mkdir(parents=True, exist_ok=True)
            self._fs.get_file(path, str(file))
        if not target.is_dir() or hash_of(target) != name:
            raise Damaged(f"object {name} of the store {self._url} is not whole")
        return target

    def objects(self) -> list[ObjectId]:
        """List all objects, whole or not."""
        return [ObjectId(name) for name in self._names("objects")]

    def drop(self, name: ObjectId) -> None:
        """Remove an object that nothing points to any more."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm(self._folder(name), recursive=True)

    def entries(self, pointer: str) -> list[int]:
        """See `Entries.entries`."""
        return [int(name) for name in self._names(f"pointers/{pointer}")]

    def read(self, pointer: str, number: int) -> bytes:
        """See `Entries.read`."""
        return bytes(self._fs.cat_file(self._entry(pointer, number)))

    def append(self, pointer: str, number: int, content: bytes) -> bool:
        """See `Entries.append`."""
        try:
            self._fs.pipe_file(self._entry(pointer, number), content, mode="create")
        except FileExistsError:
            return False
        return True

    def sweep(self) -> None:
        """Nothing is ever half copied under a name of its own."""

    def _names(self, folder: str) -> list[str]:
        self._fs.invalidate_cache()
        try:
            found = self._fs.ls(f"{self._root}/{folder}", detail=False)
        except FileNotFoundError:
            return []
        return [str(path).rstrip("/").rpartition("/")[2] for path in found]

    def _folder(self, name: ObjectId) -> str:
        return f"{self._root}/objects/{name}"

    def _entry(self, pointer: str, number: int) -> str:
        return f"{self._root}/pointers/{pointer}/{number:08}"


_: type[Entries] = RemoteStore
