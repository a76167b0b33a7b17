"""Holds: which process uses a device now. One flock'd descriptor per UUID, released by the kernel.

Nobody has to clean up: when the last process that has the descriptor is gone, killed or not, the device
is free. What the files say is for people only; the lock is the truth.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from tritium_discovery.errors import BadState, DeviceHeld
from tritium_discovery.observation import Uuid
from tritium_discovery.state import host_lock, not_ours, open_plain

__all__ = ["Hold", "Holder", "adopt", "held", "hold_file", "hold_files", "read_note", "take"]

_PREFIX = "hold-"
_LOCK_TIMEOUT_S = 10.0
_MOST_BYTES = 4096
_MOST_WORDS = 500
"""Characters of a note; even escaped in JSON they leave room for the rest."""


class Holder(NamedTuple):
    """Who holds a device, in its own words."""

    pid: int
    """E.g. ``4711``; 0 when the holder left no note."""
    user: str
    """E.g. ``alice``."""
    what: str
    """E.g. ``rank 0 of gang 7c1e``."""
    since: float
    """Seconds since the epoch."""
    drain_s: float | None = None
    """Seconds in which it gives the device up when it is asked to (`drain`); ``None``: it never does."""
    priority: int | None = None
    """Who may ask it: only somebody more important; ``None``: nobody needs it now, so anybody may."""

    def __str__(self) -> str:
        return f"{self.what} (pid {self.pid})" if self.pid else self.what


_UNKNOWN = Holder(pid=0, user="", what="a process that left no note", since=0.0)


class Hold:
    """Devices held by this process, until ``close`` or the end of every process that has the descriptors."""

    __slots__ = ("_open", "filenos", "uuids")

    def __init__(self, uuids: Sequence[Uuid], filenos: Sequence[int]) -> None:
        self.uuids: Final = tuple(uuids)
        self.filenos: Final = tuple(filenos)
        """One open descriptor per device, in the order of ``uuids``; a child given them shares the hold."""
        self._open = list(filenos)

    def close(self) -> None:
        """Close this process's descriptors; a child that inherited them goes on holding."""
        while self._open:
            os.close(self._open.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def take(uuids: Sequence[Uuid], *, what: str, directory: Path) -> Hold:
    """Hold all of ``uuids`` or none; does not wait.

    Raises:
        DeviceHeld: another process holds one of them; ``.uuid`` and ``.holder`` say which and who.
        BadState: a file in ``directory`` is not what it should be.
        TimedOut: the host's lock could not be had.
    """
    opened: list[int] = []
    try:
        with host_lock(directory, timeout_s=_LOCK_TIMEOUT_S):
            for uuid in uuids:
                fileno = open_plain(hold_file(directory, uuid), os.O_RDWR, mode=0o666)
                opened.append(fileno)
                _lock_or_raise(fileno, uuid)
            adopt(opened, what=what)
    except BaseException:
        for fileno in opened:
            os.close(fileno)
        raise
    return Hold(uuids, opened)


def adopt(
    filenos: Sequence[int],
    *,
    what: str,
    drain_s: float | None = None,
    priority: int | None = None,
    since: float | None = None,
) -> float:
    """Write this process into the held descriptors as their holder, e.g. a rank that inherited them.

    Returns the moment from which it holds them, which is in its note: now, or ``since`` if it did before.
    """
    since = time.time() if since is None else since
    note = {"pid": os.getpid(), "user": _user(), "what": what[:_MOST_WORDS], "since": since}
    text = json.dumps({**note, "drain_s": drain_s, "priority": priority}).encode()
    for fileno in filenos:
        os.pwrite(fileno, text.ljust(_MOST_BYTES), 0)
    return since


def held(directory: Path) -> Mapping[Uuid, Holder]:
    """Who holds what now.

    Raises:
        BadState: a file in ``directory`` is not what it should be.
        TimedOut: the host's lock could not be had.
    """
    found: dict[Uuid, Holder] = {}
    # Probing takes each lock for a moment: only under the host's lock can that disturb nobody.
    with host_lock(directory, timeout_s=_LOCK_TIMEOUT_S):
        for uuid, fileno in hold_files(directory):
            if not _lock(fileno):
                found[uuid] = read_note(fileno)
    return found


def hold_files(directory: Path) -> Iterator[tuple[Uuid, int]]:
    """Open one hold file after the other, for reading; those that another user hides are skipped.

    Raises:
        BadState: a file in ``directory`` is not what it should be.
    """
    for path in sorted(directory.glob(f"{_PREFIX}*")):
        try:
            fileno = open_plain(path, os.O_RDONLY, mode=0)
        except BadState:
            if not_ours(path):
                continue
            raise
        try:
            yield Uuid(path.name.removeprefix(_PREFIX)), fileno
        finally:
            os.close(fileno)


def hold_file(directory: Path, uuid: Uuid) -> Path:
    """Where the hold of a device lives: its lock, its holder's note, and what its holder is asked.

    Raises:
        BadState: that is no UUID.
    """
    if not uuid.replace("-", "").isalnum():
        raise BadState(f"{uuid!r} is no device UUID")
    return directory / f"{_PREFIX}{uuid}"


def _lock_or_raise(fileno: int, uuid: Uuid) -> None:
    if not _lock(fileno):
        raise DeviceHeld(uuid, read_note(fileno))


def _lock(fileno: int) -> bool:
    try:
        fcntl.flock(fileno, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_note(fileno: int) -> Holder:
    """The note in a hold file; anybody may have written it, so anything may be in it."""
    try:
        note = json.loads(os.pread(fileno, _MOST_BYTES, 0))
        drain_s, priority = note.get("drain_s"), note.get("priority")
        return Holder(
            pid=int(note["pid"]),
            user=_printable(str(note["user"])),
            what=_printable(str(note["what"])),
            since=float(note["since"]),
            drain_s=None if drain_s is None else float(drain_s),
            priority=None if priority is None else int(priority),
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return _UNKNOWN


def _printable(text: str) -> str:
    """Words that do nothing to a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # containers run as users without a name
        return str(os.getuid())
