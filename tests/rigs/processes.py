"""Wait for processes to end, and for other things to happen, always with a limit."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import psutil

__all__ = ["assert_gone", "assert_pid_gone", "eventually", "survivors"]

_T = TypeVar("_T")


def eventually(look: Callable[[], _T], *, limit_s: float = 10) -> _T:
    """Look until there is something to see, and return it."""
    deadline = time.monotonic() + limit_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"it did not happen within {limit_s} s"
        time.sleep(0.01)
    return found


def survivors(processes: Iterable[psutil.Process], *, within_s: float) -> list[psutil.Process]:
    """Wait for processes to end and return those that do not; a zombie has ended (not every pid 1 reaps)."""
    deadline = time.monotonic() + within_s
    left = list(processes)
    while left := [process for process in left if _lives(process)]:
        if time.monotonic() > deadline:
            return left
        time.sleep(0.01)
    return []


def assert_gone(processes: Iterable[psutil.Process], *, within_s: float) -> float:
    """Wait for processes to end. Returns the seconds it took."""
    began = time.monotonic()
    alive = survivors(processes, within_s=within_s)
    assert not alive, f"alive after {within_s} s: {[process.cmdline() for process in alive]}"
    return time.monotonic() - began


def assert_pid_gone(pid: int, *, within_s: float) -> None:
    """Wait for the process that a test knows by its number alone; it may have ended already."""
    with contextlib.suppress(psutil.NoSuchProcess):
        assert_gone([psutil.Process(pid)], within_s=within_s)


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
