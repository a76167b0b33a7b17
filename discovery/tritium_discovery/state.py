"""The directory where claims and holds live, and the host's one lock. An edge: files.

Everything in it may be seen by other users, and in the shared form written beside theirs, so nothing is
opened through a symbolic link and nothing is believed because of its name.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tritium_discovery.errors import BadState, TimedOut, Unwritten
from tritium_discovery.settings import Settings

__all__ = ["DRAFT", "SHARED", "host_lock", "not_ours", "open_plain", "replace_file", "state_directory"]

SHARED = Path("/run/tritium")
"""Made by root for all users of the host: ``install -d -m 1777 /run/tritium``."""

DRAFT = "draft-"
"""What files being written are called."""
_POLL_S = 0.005


def state_directory(settings: Settings) -> Path:
    """Where claims and holds live: TRITIUM_DIR, else root's ``/run/tritium``, else one per user.

    Users that have a directory each do not see each other's claims: ``gpu-discover doctor`` says so.

    Raises:
        BadState: it is a symbolic link, belongs to somebody else, or others may write to it.
    """
    if settings.directory is not None:
        return _checked(settings.directory)
    if SHARED.is_dir():
        return _checked(SHARED)
    return _checked(Path(f"/var/tmp/tritium-{os.getuid()}"))  # noqa: S108 - checked below, no symlink


def _checked(directory: Path) -> Path:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.lstat()
    except OSError as err:
        raise BadState(f"state directory {directory}: {err.strerror or err}") from err
    problem = _distrust(status)
    if problem is not None:
        raise BadState(f"state directory {directory} {problem}; remove it or set TRITIUM_DIR")
    return directory


def _distrust(status: os.stat_result) -> str | None:
    """Why a directory with this status cannot be trusted; ``None`` when it can."""
    if not stat.S_ISDIR(status.st_mode):
        return "is not a directory, or a symbolic link"
    if status.st_uid not in {0, os.getuid()}:
        return f"belongs to user {status.st_uid}, neither root nor you"
    if status.st_mode & 0o022 and not (status.st_uid == 0 and status.st_mode & stat.S_ISVTX):
        return f"may be written by others (mode {stat.S_IMODE(status.st_mode):o})"
    return None


def open_plain(path: Path, flags: int, *, mode: int) -> int:
    """Open a plain file, never through a link and never one that blocks; ``mode`` is exact when created.

    Raises:
        BadState: it is a link, a pipe, a device or a directory, or may not be opened.
    """
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        # Existing files first and without O_CREAT: fs.protected_regular forbids it on other users' files.
        fileno = _open_or_create(path, flags, mode)
    except OSError as err:
        if err.errno == errno.ELOOP:
            raise BadState(f"{path} is a symbolic link; remove it") from err
        raise BadState(f"{path}: {err.strerror or err}") from err
    if not stat.S_ISREG(os.fstat(fileno).st_mode):
        os.close(fileno)
        raise BadState(f"{path} is not a plain file; remove it")
    return fileno


def _open_or_create(path: Path, flags: int, mode: int) -> int:
    for _ in range(100):
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            if not mode:
                raise
        try:
            fileno = os.open(path, flags | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            continue  # another process was first
        os.fchmod(fileno, mode)  # whatever the umask says
        return fileno
    raise FileNotFoundError(f"{path} comes and goes")


def not_ours(path: Path) -> bool:
    """Whether a file is gone or another user's: anybody may leave rubbish in the shared directory."""
    try:
        return path.lstat().st_uid not in {0, os.getuid()}
    except FileNotFoundError:
        return True


def replace_file(path: Path, text: str) -> None:
    """Write a file whole or not at all: a kill at any point leaves the old one, or a draft nobody reads.

    Raises:
        Unwritten: it cannot be written, as on a full disk.
    """
    draft = path.with_name(f"{DRAFT}{os.getpid()}-{path.name}")
    try:
        draft.unlink(missing_ok=True)  # of an earlier process that had this pid
        _write(draft, text.encode())
        try:
            draft.rename(path)
        except OSError:
            draft.unlink()
            raise
    except OSError as err:
        raise Unwritten(f"{path} cannot be written: {err.strerror or err}") from err


def _write(path: Path, text: bytes) -> None:
    fileno = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        os.fchmod(fileno, 0o644)
        while text:
            text = text[os.write(fileno, text) :]
        os.fsync(fileno)
    except OSError:
        path.unlink()
        raise
    finally:
        os.close(fileno)


@contextmanager
def host_lock(directory: Path, *, timeout_s: float) -> Iterator[None]:
    """Hold the host's one lock for the block. Never fork inside: a child would share the lock.

    Raises:
        TimedOut: another process had it for all of ``timeout_s``.
        BadState: the lock file is not a plain file.
    """
    path = directory / "lock"
    # Reading is enough to lock it, so other users need no right to write.
    fileno = open_plain(path, os.O_RDONLY, mode=0o644)
    try:
        deadline = time.monotonic() + timeout_s
        while not _try_lock(fileno):
            if time.monotonic() >= deadline:
                raise TimedOut(f"the lock {path} was taken for {timeout_s:g} s; fuser {path} shows by whom")
            time.sleep(_POLL_S)
        try:
            yield
        finally:
            # Explicitly: closing would leave the lock to a child that another thread forked meanwhile.
            fcntl.flock(fileno, fcntl.LOCK_UN)
    finally:
        os.close(fileno)


def _try_lock(fileno: int) -> bool:
    try:
        fcntl.flock(fileno, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
