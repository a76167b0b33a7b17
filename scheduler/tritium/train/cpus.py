"""How many processor cores a process really has: by its affinity, and by the limits of its control groups."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["cores", "usable"]

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def usable() -> int:
    """Count the cores that this process may keep busy at once."""
    return cores(len(os.sched_getaffinity(0)), _limits(_MEMBERSHIP, _CGROUPS))


def cores(affinity: int, limits: Iterable[str]) -> int:
    """Decide from the cores it may run on and from limits as the kernel writes them: ``QUOTA PERIOD``.

    A container with half a core still has one thread; without a limit the quota is ``max``, or ``-1``.

    >>> cores(64, ["max 100000", "400000 100000"]), cores(64, ["50000 100000"]), cores(2, ["-1 100000"])
    (4, 1, 2)
    """
    allowed = affinity
    for limit in limits:
        quota, _, period = limit.strip().partition(" ")
        if quota.isdigit() and period.isdigit() and int(period):
            allowed = min(allowed, -(-int(quota) // int(period)))
    return max(1, allowed)


def _limits(membership: Path, root: Path) -> Iterator[str]:
    """The limits of this process's groups and of all above (cgroup v2 ``cpu.max``, v1 ``cpu.cfs_*``)."""
    for line in _lines(membership):
        number, controllers, path = line.split(":", 2)
        v2 = number == "0" and not controllers
        if not v2 and "cpu" not in controllers.split(","):
            continue
        base = root if v2 else root / controllers
        # Inside a container the path may be the host's, and the container's own group is the root here.
        for group in (base / path.lstrip("/"), *(base / path.lstrip("/")).parents):
            if group != base and base not in group.parents:
                break
            if v2:
                yield from _lines(group / "cpu.max")
            else:
                quota, period = (_lines(group / f"cpu.cfs_{word}_us") for word in ("quota", "period"))
                yield from (" ".join(pair) for pair in zip(quota, period, strict=False))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
