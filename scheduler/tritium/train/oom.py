"""Edge to the kernel's counters: was a process killed because memory ran out, and how do we know?

Nobody sees a signal's sender. What the kernel does count are its out-of-memory kills: for a group of
processes (``memory.events`` of cgroup v2, ``memory.oom_control`` of v1), and for the host (``/proc/vmstat``).
"""

from __future__ import annotations

import contextlib
import signal
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

__all__ = ["Recent", "evidence", "kills"]

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_HOST = "vmstat"
_BEATS = 5
"""How many counts are kept: a process with much memory takes some seconds to die of the kill."""


class Recent:
    """The counts of the last beats: a kill before them is not what ends a process now."""

    def __init__(self, count: Callable[[], Mapping[str, int]]) -> None:
        self._count = count
        self._beats = deque([count()], maxlen=_BEATS)

    def beat(self) -> None:
        """Count once more."""
        self._beats.append(self._count())

    def evidence(self, number: int) -> str:
        """Say what speaks for the kernel as the sender of a signal; it sends no other than SIGKILL."""
        return evidence(self._beats[0], self._count()) if number == signal.SIGKILL else ""


def kills(*, proc: Path = _PROC, cgroups: Path = _CGROUPS) -> dict[str, int]:
    """Count the out-of-memory kills so far: by file, those that this process can see."""
    found = {}
    for path in (*_group_files(proc, cgroups), proc / _HOST):
        with contextlib.suppress(OSError, ValueError):
            for name, _, number in (line.partition(" ") for line in path.read_text().splitlines()):
                if name == "oom_kill":
                    found[str(path)] = int(number)
    return found


def evidence(before: Mapping[str, int], now: Mapping[str, int]) -> str:
    """Say what speaks for an out-of-memory kill in between; empty if nothing does.

    >>> evidence({"/proc/vmstat": 3}, {"/proc/vmstat": 4})
    'memory may have run out: the kernel killed some process of this host (oom_kill 3 -> 4 in /proc/vmstat)'
    >>> evidence({"/proc/vmstat": 3}, {"/proc/vmstat": 3})
    ''
    """
    # The process's own group is listed before the host, on which others may have been killed.
    for path, count in now.items():
        if path in before and count > before[path]:
            counted = f"oom_kill {before[path]} -> {count} in {path}"
            if path.endswith(_HOST):
                return f"memory may have run out: the kernel killed some process of this host ({counted})"
            return f"out of memory: the kernel has killed for lack of memory meanwhile ({counted})"
    return ""


def _group_files(proc: Path, cgroups: Path) -> Iterable[Path]:
    """Where the counters of this process's group may be: below its path, or on top in a container."""
    lines = []
    with contextlib.suppress(OSError):
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            root, name = cgroups / "memory", "memory.oom_control"
        elif not controllers:
            root, name = cgroups, "memory.events"
        else:
            continue
        own = root / path.lstrip("/") / name
        yield own if own.exists() else root / name
