"""What a gang leaves: values, where its ranks ran, and what it took to get there."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tritium.errors import CodeMissing, TritiumError
from tritium.train.assembly import Assembly
from tritium.train.placing import Asked, Placed, place
from tritium_discovery import Device

__all__ = ["RankInfo", "Result", "result_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankInfo:
    """Where one rank ran and what it used."""

    rank: int
    local_rank: int
    group_rank: int
    host: str
    executor: str
    """E.g. ``executor 1``."""
    devices: tuple[Device, ...]
    pid: int
    seconds: float
    """Lifetime of its process."""
    start: Mapping[str, float]
    """Seconds of its start: ``fork`` (until its process ran), ``import`` (until it entered the function),
    ``rendezvous`` (until torch's store had met all ranks), ``report`` (until its first report); what it never
    came to is missing."""
    peak_mib: int | None
    """Most memory that its process had on the host."""
    device_peak_mib: int | None
    """Most memory that it had on its devices, where its framework counts that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a gang leaves: the ranks' values in order, where they ran, and how long each phase took."""

    values: tuple[Any, ...]
    ranks: tuple[RankInfo, ...]
    phases: Mapping[str, float]
    """Seconds of the attempt that succeeded: ``queue`` (until Spark had room), ``launch`` (until all tasks
    ran), ``rows`` (until they had their rows and met), ``place`` (until devices were held), ``run``."""
    failed: tuple[TritiumError, ...] = ()
    """Why earlier attempts failed, the first one first."""


def result_of(
    assembly: Assembly,
    values: Mapping[int, bytes | None],
    *,
    asked: Asked,
    queue_s: float,
) -> Result:
    """Put together what the attempt that succeeded left; ``values`` are pickled, by rank.

    Raises:
        CodeMissing: a value cannot be read at the driver.
    """
    hellos = [assembly.hellos[task] for task in sorted(assembly.hellos)]
    placed = place(hellos, asked)
    assert isinstance(placed, Placed)  # noqa: S101  the tasks computed the same from the same hellos
    infos = tuple(
        RankInfo(
            rank=member.rank,
            local_rank=member.local_rank,
            group_rank=member.group_rank,
            host=member.host,
            executor=member.pool,
            devices=tuple(placed.devices[uuid] for uuid in member.devices),
            pid=assembly.pids[task],
            seconds=assembly.outcomes[task].seconds,
            start=_start(assembly.began["running"], assembly.moments.get(member.rank, {})),
            peak_mib=peak.host_mib if (peak := assembly.peaks.get(member.rank)) is not None else None,
            device_peak_mib=peak.device_mib if peak is not None else None,
        )
        for member, task in zip(placed.placement.members, placed.tasks, strict=True)
    )
    began = assembly.began
    all_here = assembly.all_here or began["placing"]
    return Result(
        values=tuple(_loaded(values[rank], rank) for rank in range(assembly.size)),
        ranks=infos,
        phases={
            "queue": queue_s,
            "launch": all_here - began["gathering"],
            "rows": began["placing"] - all_here,
            "place": began["running"] - began["placing"],
            "run": began["over"] - began["running"],
        },
    )


def _start(running: float, moments: Mapping[str, float]) -> Mapping[str, float]:
    """Turn the moments of a rank's start into how long each step took.

    >>> _start(10.0, {"started": 10.5, "entered": 11.0, "reported": 13.0})
    {'fork': 0.5, 'import': 0.5, 'report': 2.0}
    """
    steps = {"fork": "started", "import": "entered", "rendezvous": "met", "report": "reported"}
    since, found = running, {}
    for step, name in steps.items():
        if name in moments:
            found[step] = moments[name] - since
            since = moments[name]
    return found


def _loaded(value: bytes | None, rank: int) -> Any:
    try:
        return pickle.loads(value or b"")  # noqa: S301  what our own rank returned
    except Exception as err:
        raise CodeMissing(f"what rank {rank} returned cannot be read at the driver: {err}") from err
