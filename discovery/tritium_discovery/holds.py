"""Holds: which process uses a device now, or a share of its memory. One flock'd descriptor for each.

Nobody has to clean up: when the last process that has the descriptor is gone, killed or not, the kernel
has freed what it held. What the files say is for people only; the lock and the file's name are the truth.
A device held whole is ``hold-UUID``, a share of it ``share-UUID.MIB.N``; all is taken under the host's lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, NoReturn, Self

from tritium_discovery.errors import BadState, DeviceHeld
from tritium_discovery.observation import Uuid
from tritium_discovery.state import host_lock, not_ours, open_plain

__all__ = [
    "Hold",
    "HoldFile",
    "Holder",
    "adopt",
    "described",
    "held",
    "hold_files",
    "holders",
    "read_note",
    "take",
    "take_share",
]

_NAME = re.compile(r"(?:hold-(?P<whole>[0-9A-Za-z-]+)|share-(?P<part>[0-9A-Za-z-]+)\.(?P<mib>[1-9]\d*)\.\d+)")
_LOCK_TIMEOUT_S = 10.0
_MOST_BYTES = 4096
_MOST_WORDS = 500
"""Characters of a note; even escaped in JSON they leave room for the rest."""


class Holder(NamedTuple):
    """Who holds a device, or a share of it, in its own words."""

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
    mib: int | None = None
    """The share of the device's memory that it holds, e.g. ``4096``; ``None``: it has the device alone."""

    @property
    def name(self) -> str:
        """What it is called, and told from others by, e.g. ``owner of model 3fa94c (pid 4711)``."""
        return f"{self.what} (pid {self.pid})" if self.pid else self.what

    def __str__(self) -> str:
        return self.name if self.mib is None else f"{self.name} ({self.mib} MiB)"


class HoldFile(NamedTuple):
    """A file that is locked while somebody holds what it is called after."""

    path: Path
    uuid: Uuid
    mib: int | None
    """The share that it stands for; ``None``: the whole device."""
    fileno: int
    """Open for reading."""


_UNKNOWN = Holder(pid=0, user="", what="a process that left no note", since=0.0)


class Hold:
    """What this process holds, until ``close`` or the end of every process that has the descriptors."""

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
    """Hold all of ``uuids`` or none, each of them whole; does not wait.

    Raises:
        DeviceHeld: others hold one of them, or shares of it; ``.uuid`` and ``.holder`` say which and who.
        BadState: a file in ``directory`` is not what it should be.
        TimedOut: the host's lock could not be had.
    """
    opened: list[int] = []
    try:
        with host_lock(directory, timeout_s=_LOCK_TIMEOUT_S):
            for uuid in uuids:
                having = [holder for _, holder in _holders(directory, uuid)]
                opened.append(_open(directory, uuid))
                if having or not _lock(opened[-1]):
                    _refuse(uuid, having)
            adopt(opened, what=what)
    except BaseException:
        for fileno in opened:
            os.close(fileno)
        raise
    return Hold(uuids, opened)


def take_share(uuid: Uuid, mib: int, *, of_mib: int, what: str, directory: Path) -> Hold:
    """Hold ``mib`` of a device's memory, beside others that hold shares of it; does not wait.

    Never are more than ``of_mib`` held of it in all: its memory, or what somebody unknown leaves of it.

    Raises:
        DeviceHeld: others hold it whole, or so much of it that this is not left; ``.holder`` says who.
        ValueError: the device never has as much, or that is no share.
        BadState: a file in ``directory`` is not what it should be.
        TimedOut: the host's lock could not be had.
    """
    if not 0 < mib <= of_mib:
        raise ValueError(f"a share of {mib} MiB of {of_mib}")
    with host_lock(directory, timeout_s=_LOCK_TIMEOUT_S):
        having = [holder for _, holder in _holders(directory, uuid)]
        if sum(of_mib if holder.mib is None else holder.mib for holder in having) + mib > of_mib:
            _refuse(uuid, having)
        hold = Hold([uuid], [_free_slot(directory, uuid, mib)])
        try:
            adopt(hold.filenos, what=what)
        except BaseException:  # a full disk
            hold.close()
            raise
    return hold


def _refuse(uuid: Uuid, having: Sequence[Holder]) -> NoReturn:
    raise DeviceHeld(uuid, described(having))


def _free_slot(directory: Path, uuid: Uuid, mib: int) -> int:
    number = 0
    while not _lock(fileno := _open(directory, uuid, f".{mib}.{number}")):
        os.close(fileno)
        number += 1
    return fileno


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


def held(directory: Path) -> Mapping[Uuid, tuple[Holder, ...]]:
    """Who holds what now: of each device that is held its only holder, or all that have shares of it.

    Raises:
        BadState: a file in ``directory`` is not what it should be.
        TimedOut: the host's lock could not be had.
    """
    by_uuid: dict[Uuid, tuple[Holder, ...]] = {}
    # Probing takes each lock for a moment: only under the host's lock can that disturb nobody.
    with host_lock(directory, timeout_s=_LOCK_TIMEOUT_S):
        for file in hold_files(directory):
            if not _lock(file.fileno):
                by_uuid[file.uuid] = (*by_uuid.get(file.uuid, ()), _holder(file))
    return by_uuid


def holders(directory: Path, uuid: Uuid) -> Sequence[tuple[Path, Holder]]:
    """Who holds a device now, or shares of it, each with the file that is locked for it.

    Raises:
        BadState: a file in ``directory`` is not what it should be.
        TimedOut: the host's lock could not be had.
    """
    with host_lock(directory, timeout_s=_LOCK_TIMEOUT_S):
        return _holders(directory, uuid)


def described(having: Iterable[Holder]) -> str:
    """Name all holders of a device, each with its share."""
    return ", ".join(map(str, having))


def hold_files(directory: Path, uuid: Uuid | None = None) -> Iterator[HoldFile]:
    """Open one file after the other, for reading, whole devices first; those another user hides are skipped.

    Raises:
        BadState: a file in ``directory`` is not what it should be.
    """
    for path in sorted((*directory.glob("hold-*"), *directory.glob("share-*"))):
        name = _NAME.fullmatch(path.name)
        if name is None or uuid not in (None, name["whole"] or name["part"]):
            continue
        try:
            fileno = open_plain(path, os.O_RDONLY, mode=0)
        except BadState:
            if not_ours(path):
                continue
            raise
        try:
            mib = int(name["mib"]) if name["mib"] else None
            yield HoldFile(path, Uuid(name["whole"] or name["part"]), mib, fileno)
        finally:
            os.close(fileno)


def _holders(directory: Path, uuid: Uuid) -> Sequence[tuple[Path, Holder]]:
    return [(file.path, _holder(file)) for file in hold_files(directory, uuid) if not _lock(file.fileno)]


def _holder(file: HoldFile) -> Holder:
    return read_note(file.fileno)._replace(mib=file.mib)


def _open(directory: Path, uuid: Uuid, share: str = "") -> int:
    path = directory / f"{'share' if share else 'hold'}-{uuid}{share}"
    if not _NAME.fullmatch(path.name):
        raise BadState(f"{uuid!r} is no device UUID")
    return open_plain(path, os.O_RDWR, mode=0o666)


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
