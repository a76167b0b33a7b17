"""A content-addressed store on a local path: immutable objects, and pointers to them.

An object is a tree of files and its name is their hash, so it can be checked at any time and written
twice without harm.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NewType

from tritium.errors import CannotPublish
from tritium.store.disk import Disk
from tritium.store.pointer import Pointer

__all__ = ["Damaged", "ObjectId", "Store", "hash_of"]

ObjectId = NewType("ObjectId", str)
"""SHA-256 of an object's files and their names, in hexadecimal."""


_THERE = frozenset({errno.EEXIST, errno.ENOTEMPTY})
"""How a rename says that there is a folder of that name, with files."""
_LOCKLESS = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK})
"""How a file system says that it has no locks (``flock``)."""


class Damaged(CannotPublish):
    """An object is not what was put under its name, or is not there any more."""


def hash_of(tree: Path) -> ObjectId:
    """Hash a tree: the names and bytes of its files, whatever order the disk lists them in."""
    files = sorted(path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file())
    total = hashlib.sha256()
    for name in files:
        with (tree / name).open("rb") as file:
            total.update(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n".encode())
    return ObjectId(total.hexdigest())


class Store:
    """The objects and pointers under one folder."""

    def __init__(self, root: Path, *, disk: Disk) -> None:
        self._root = root
        self._disk = disk

    def path(self, name: ObjectId) -> Path:
        """Return where an object's files are, if it exists."""
        return self._root / "objects" / name

    def whole(self, name: ObjectId) -> bool:
        """Whether an object is there and its files are still the ones that were put."""
        return self.path(name).is_dir() and hash_of(self.path(name)) == name

    def put(self, tree: Path) -> ObjectId:
        """Copy a tree into the store; links to files become files.

        Raises:
            CannotPublish: the disk would not take it.
        """
        incoming = self._root / "incoming" / secrets.token_hex(8)
        try:
            with self._putting():
                try:
                    shutil.copytree(tree, incoming)
                    name = hash_of(incoming)
                    if not self.whole(name):
                        self._publish(incoming, name)
                finally:
                    shutil.rmtree(incoming, ignore_errors=True)
        except (OSError, shutil.Error) as err:
            raise CannotPublish(f"{tree} cannot be put into the store {self._root}: {err}") from err
        return name

    def _publish(self, incoming: Path, name: ObjectId) -> None:
        """Give it its name; a whole object of that name, which somebody else published, stays where it is."""
        try:
            self._disk.move(incoming, self.path(name))
        except OSError as err:
            if err.errno not in _THERE:
                raise
            if self.whole(name):
                return
            # What is there is not what was put: it must not stay.
            damaged = incoming.with_name(f"{incoming.name}.damaged")
            self.path(name).rename(damaged)
            self._disk.move(incoming, self.path(name))
            shutil.rmtree(damaged, ignore_errors=True)

    def fetch(self, name: ObjectId, *, into: Path) -> Path:  # noqa: ARG002  a store elsewhere copies it there
        """Return a folder with the object's files, which must not be changed.

        Raises:
            Damaged: it is not whole.
        """
        if not self.whole(name):
            raise Damaged(f"object {name} of the store {self._root} is not whole")
        return self.path(name)

    def objects(self) -> list[ObjectId]:
        """List all objects, whole or not."""
        folder = self._root / "objects"
        return [ObjectId(path.name) for path in folder.iterdir()] if folder.is_dir() else []

    def drop(self, name: ObjectId) -> None:
        """Remove an object that nothing points to any more."""
        shutil.rmtree(self.path(name), ignore_errors=True)

    def target(self, pointer: str) -> ObjectId | None:
        """Return what a pointer points to, ``None`` if it was never set."""
        _, content = Pointer(self, pointer).read()
        return ObjectId(content.decode()) if content is not None else None

    def point(self, pointer: str, name: ObjectId, *, expected: ObjectId | None) -> None:
        """Move a pointer from ``expected`` to an object; without a change if it is there already.

        Raises:
            CannotPublish: the object is not whole, or the pointer is not where it was expected.
        """
        number, content = Pointer(self, pointer).read()
        now = content.decode() if content is not None else None
        if now == name:
            return
        if now == expected and not self.whole(name):
            raise CannotPublish(f"the pointer {pointer} cannot be moved: object {name} is not whole")
        if now != expected or not Pointer(self, pointer).move(name.encode(), after=number):
            raise CannotPublish(f"the pointer {pointer} was moved by somebody else: {now}, not {expected}")

    def entries(self, pointer: str) -> list[int]:
        """See `Entries.entries`."""
        folder = self._root / "pointers" / pointer
        # What begins with a dot was not written whole.
        return [int(path.name) for path in folder.glob("[0-9]*")]

    def read(self, pointer: str, number: int) -> bytes:
        """See `Entries.read`."""
        return self._entry(pointer, number).read_bytes()

    def append(self, pointer: str, number: int, content: bytes) -> bool:
        """See `Entries.append`."""
        return self._disk.create(self._entry(pointer, number), content)

    def sweep(self) -> None:
        """Remove what killed processes left half copied, or nothing while somebody puts something.

        Whoever puts has the lock shared, from before its folder is there until that is gone, and no two
        folders have one name. So what was there before nobody had the lock is nobody's, now and for ever.
        """
        incoming = self._root / "incoming"
        left = list(incoming.iterdir()) if incoming.is_dir() else []
        if left and self._quiet():
            for folder in left:
                shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def _putting(self) -> Iterator[None]:
        """Have the lock of all who put; the kernel gives it back, however the process ends."""
        descriptor = self._lock()
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH)  # nobody has it alone for longer than a moment
            except OSError as err:
                if err.errno not in _LOCKLESS:  # where there are none, nothing is swept either
                    raise
            yield
        finally:
            os.close(descriptor)

    def _quiet(self) -> bool:
        """Whether nobody puts anything at this moment; never where that cannot be known."""
        descriptor = self._lock()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        else:
            return True
        finally:
            os.close(descriptor)

    def _lock(self) -> int:
        self._root.mkdir(parents=True, exist_ok=True)
        # Open for writing too: NFS locks nothing else for one alone.
        return os.open(self._root / "incoming.lock", os.O_RDWR | os.O_CREAT, 0o666)

    def _entry(self, pointer: str, number: int) -> Path:
        return self._root / "pointers" / pointer / f"{number:08}"
