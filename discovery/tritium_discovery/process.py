"""The edge to /proc: who a process is, who its ancestors are, and whether it still lives.

A pid alone names nobody for long: it is used again. Start time, boot and pid namespace beside it do.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from tritium_discovery.boot import boot_id

__all__ = ["ProcessId", "ancestors", "is_jvm", "line", "nearest_jvm", "process_id", "user_of"]


class ProcessId(NamedTuple):
    """One process of one boot, never another."""

    pid: int
    """E.g. ``4711``, as seen in ``pid_ns``."""
    start_ticks: int
    """Field 22 of ``/proc/PID/stat``: clock ticks from boot to its start."""
    boot_id: str
    """``/proc/sys/kernel/random/boot_id``."""
    pid_ns: int
    """The inode of ``/proc/self/ns/pid`` of the process that wrote it down."""

    def alive(self) -> bool:
        """Whether it still runs, as far as this process can see.

        From another pid namespace nobody can tell, so it counts as alive until the next boot: giving a
        card twice is worse than leaving it out.
        """
        if self.boot_id != boot_id():
            return False
        if self.pid_ns != _pid_namespace():
            return True
        stat = _stat(self.pid)
        return stat is not None and stat.start_ticks == self.start_ticks and stat.state not in "ZX"


class _Stat(NamedTuple):
    """What is needed of ``/proc/PID/stat`` (proc(5))."""

    comm: str
    state: str
    parent: int
    start_ticks: int


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name stands in parentheses and may hold spaces and parentheses itself.
    comm, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()
    return _Stat(comm=comm, state=fields[0], parent=int(fields[1]), start_ticks=int(fields[19]))


def _pid_namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def process_id(pid: int) -> ProcessId | None:
    """Who ``pid`` is now; ``None`` when there is no such process."""
    stat = _stat(pid)
    if stat is None:
        return None
    return ProcessId(pid=pid, start_ticks=stat.start_ticks, boot_id=boot_id(), pid_ns=_pid_namespace())


def ancestors(pid: int) -> tuple[ProcessId, ...]:
    """The processes above ``pid``, nearest first, as far as /proc shows them."""
    found: list[ProcessId] = []
    stat = _stat(pid)
    while stat is not None and stat.parent > 0:
        parent = process_id(stat.parent)
        if parent is None:
            break
        found.append(parent)
        stat = _stat(stat.parent)
    return tuple(found)


@lru_cache(maxsize=1)
def _line(pid: int) -> tuple[ProcessId, ...]:
    return ancestors(pid)


def line() -> tuple[ProcessId, ...]:
    """The processes above this one when it first looked: a worker outlives the ``kill -9`` of its daemon."""
    return _line(os.getpid())


def is_jvm(pid: int) -> bool:
    """Whether ``pid`` runs Java: called ``java``, or with libjvm.so inside (jsvc, JNI launchers)."""
    stat = _stat(pid)
    if stat is None:
        return False
    if stat.comm == "java":
        return True
    try:
        return "libjvm.so" in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:  # another user's process: its name was all there was to see
        return False


def nearest_jvm() -> ProcessId | None:
    """The JVM that this process works for, also behind a shell wrapper; ``None`` outside of Spark."""
    return next((process for process in line() if is_jvm(process.pid)), None)


def user_of(pid: int) -> int | None:
    """The user id that ``pid`` runs as; ``None`` when it is gone."""
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return None
