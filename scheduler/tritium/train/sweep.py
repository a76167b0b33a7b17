"""Edge to /proc: find every process of a gang or an owner, also those that hid in other sessions."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

__all__ = ["adopt_orphans", "end", "end_family", "end_offspring", "marked", "offspring", "stands_still"]

_PROC = Path("/proc")
_PR_SET_CHILD_SUBREAPER = 36
_HOPELESS_S = 10.0
"""How long SIGKILL may take; a process in uninterruptible sleep outlasts any patience."""


def adopt_orphans() -> None:
    """Become a subreaper: whatever they do, all that descend from this process stay its descendants."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def marked(mark: str) -> set[int]:
    """Find the processes that were started with ``TRITIUM_GANG=mark`` in their environment."""
    wanted = f"TRITIUM_GANG={mark}".encode()
    found = set()
    for pid in _pids():
        with contextlib.suppress(OSError):
            if wanted in (_PROC / str(pid) / "environ").read_bytes().split(b"\0"):
                found.add(pid)
    return found


def offspring(pid: int) -> set[int]:
    """Find all living descendants of a process; a subreaper keeps its orphans among them."""
    children: dict[int, list[int]] = {}
    for child in _pids():
        with contextlib.suppress(OSError):
            state, parent = _state_and_parent(child)
            if state != "Z":
                children.setdefault(parent, []).append(child)
    found: set[int] = set()
    todo = [pid]
    while todo:
        todo += (new := [child for child in children.get(todo.pop(), ()) if child not in found])
        found.update(new)
    return found


def stands_still(pid: int) -> bool:
    """Whether a process was stopped by a signal, or by a debugger."""
    with contextlib.suppress(OSError):
        return _state_and_parent(pid)[0] in "Tt"
    return False


def end(mark: str | None, *, grace_s: float, family: bool) -> bool:
    """End every process with a mark, if there is one: SIGTERM, after the grace SIGKILL, until none is left.

    With ``family`` also every descendant of the caller, which reaps them: for a subreaper.
    Returns False when something outlived even SIGKILL.
    """
    now = time.monotonic()
    kill_at, give_up_at = now + grace_s, now + grace_s + _HOPELESS_S
    asked: set[int] = set()
    while now < give_up_at:
        left = marked(mark) - {os.getpid()} if mark is not None else set()
        if family:
            _reap()
            left |= offspring(os.getpid())
        if not left:
            return True
        for pid in left if now >= kill_at else left - asked:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL if now >= kill_at else signal.SIGTERM)
        asked |= left
        time.sleep(0.01)
        now = time.monotonic()
    return False


def end_family(pid: int) -> None:
    """Kill a process of this user and all its descendants at once, as far as they are there."""
    end_offspring(pid)
    _kill(pid)


def end_offspring(pid: int) -> None:
    """Kill all descendants of a process at once."""
    for process in offspring(pid):
        _kill(process)


def _kill(pid: int) -> None:
    with contextlib.suppress(OSError):
        fileno = os.pidfd_open(pid)  # unlike kill(2) it takes no number for a group
        try:
            signal.pidfd_send_signal(fileno, signal.SIGKILL)
        finally:
            os.close(fileno)


def _state_and_parent(pid: int) -> tuple[str, int]:
    # The command's name may hold blanks and brackets: the fields start after the last one.
    state, parent = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[:2]
    return state, int(parent)


def _pids() -> Iterable[int]:
    return (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
