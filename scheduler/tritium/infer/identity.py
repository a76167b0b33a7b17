"""Edge in a task: which models are the same. Only tasks of one user with the same code share an owner."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

__all__ = ["digest", "lying_at", "shared_by"]

_CODE = frozenset({".py", ".zip", ".egg", ".whl"})
_USER = re.compile(r"SparkConnect_OperationTag_User_(.*?)_Session_")
_LENGTH = 16
_MOST_FILES = 1000
"""Of a model's folder, so that no task looks for long."""


def digest(*parts: object) -> str:
    """Return a short name of what makes a model what it is.

    >>> digest(b"load", "x") == digest(b"load", "x"), digest(b"load", "x") == digest(b"load", "y")
    (True, False)
    """
    found = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else repr(part).encode()
        found.update(len(data).to_bytes(8))
        found.update(data)
    return found.hexdigest()[:_LENGTH]


def lying_at(path: Path) -> tuple[object, ...]:
    """Say what lies at a path now: where a link leads, and names, sizes and times of change of its files.

    Of many files the first count. Two tasks of a host see the same. Of what is absent or cannot be read the
    load will complain.
    """
    return (os.path.realpath(path), *islice(_files(path), _MOST_FILES))


def _files(path: Path) -> Iterator[tuple[str, int, int]]:
    """List a file, or the files of a folder, always in the same order."""
    if path.is_file():
        yield _facts(path, path)
    for folder, folders, names in os.walk(path, followlinks=True):
        # What Python makes of the code there is no change of the model.
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(names):
            yield _facts(Path(folder, name), path)


def _facts(file: Path, top: Path) -> tuple[str, int, int]:
    name = str(file.relative_to(top))
    try:
        about = file.stat()
    except OSError:
        return name, 0, 0
    return name, about.st_size, about.st_mtime_ns


def shared_by(model: str, *, job_tags: str, files: Path) -> str:
    """Name a model so that those who must not share it have different names for it.

    A function may be sent by name only, as ``module.load``. So the modules count too that Spark brought
    along (``addPyFile``, artifacts of a Connect session), and on Spark Connect the user, of whom the jobs'
    tags tell.
    """
    user = _USER.search(job_tags)
    code = sorted(path for path in files.rglob("*") if path.suffix in _CODE and path.is_file())
    contents = [(str(path.relative_to(files)), _hashed(path)) for path in code]
    return digest(model, user[1] if user is not None else "", contents)


def _hashed(path: Path) -> str:
    about = path.stat()
    return _hash_of(path, about.st_size, about.st_mtime_ns)


@functools.cache
def _hash_of(path: Path, size: int, changed_ns: int) -> str:
    """Read a file once per process, and again if it changed: an unpacked environment has thousands."""
    del size, changed_ns  # they are only what it is remembered by
    return hashlib.sha256(path.read_bytes()).hexdigest()
