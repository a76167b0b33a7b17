"""Edge in a task: which models are the same. Only tasks of one user with the same code share an owner."""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path

__all__ = ["digest", "shared_by"]

_CODE = frozenset({".py", ".zip", ".egg", ".whl"})
_USER = re.compile(r"SparkConnect_OperationTag_User_(.*?)_Session_")
_LENGTH = 16


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
