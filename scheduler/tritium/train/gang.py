"""``tritium.Gang``: run one function on ranks that start, run and end as one."""

from __future__ import annotations

import pickle
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritium.assign import POLICIES
from tritium.assign.types import Request
from tritium.errors import BadSpec
from tritium.spark.profile import resource_profile
from tritium.train.assembly import Assembly
from tritium.train.frameworks import FRAMEWORKS
from tritium.train.job import GangJob, active_session, await_slots
from tritium.train.meeting import Meeting
from tritium.train.messages import FromTask, Line, Report
from tritium.train.placing import Placed, place
from tritium.train.task import SCHEMA, RankTask
from tritium_discovery import Device

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["Gang", "RankInfo", "Result"]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a gang leaves: the ranks' values in order, where they ran, and how long each phase took."""

    values: tuple[Any, ...]
    ranks: tuple[RankInfo, ...]
    phases: Mapping[str, float]
    """Seconds: ``gather`` (until all tasks met), ``place`` (until devices were held), ``run``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gang:
    """A gang of ranks, each with exact devices of its own.

    >>> Gang(ranks=2, gpus_per_rank=4).ranks
    2

    Raises (on construction):
        BadSpec: a number out of range, or an unknown policy or framework.
    """

    ranks: int
    gpus_per_rank: int = 1
    """Whole devices for each rank; 0 for ranks that compute on the CPU."""
    min_memory_mib: int = 0
    """Memory that each device must have."""
    product: str | None = None
    """Part of the product name that each device must carry, e.g. ``A100``."""
    policy: str = "packed"
    """How the assigner chooses: a name in ``tritium.assign.POLICIES``."""
    framework: str = "torch"
    """Whose environment contract the ranks get: a name in ``tritium.train.frameworks.FRAMEWORKS``."""
    name: str = "gang"
    """What errors and logs call it."""
    launch_timeout_s: float = 120.0
    """Limit from the call to the moment every device is held."""
    timeout_s: float | None = None
    """Limit for the whole run; none by default, since training takes as long as it takes."""

    def __post_init__(self) -> None:
        numbers: list[tuple[str, object, int]] = [
            ("ranks", self.ranks, 1),
            ("gpus_per_rank", self.gpus_per_rank, 0),
        ]
        problems = [
            f"{field}: expected an integer >= {least}, got {value!r}"
            for field, value, least in numbers
            if not isinstance(value, int) or value < least
        ]
        problems += [
            f"{field}: {value!r} is unknown; there are {', '.join(sorted(known))}"
            for field, value, known in (
                ("policy", self.policy, POLICIES.keys()),
                ("framework", self.framework, FRAMEWORKS.keys()),
            )
            if value not in known
        ]
        if problems:
            raise BadSpec("Gang", problems)

    def run(
        self,
        function: Callable[..., Any],
        data: DataFrame | None = None,
        *,
        output: Path | None = None,
        on_report: Callable[[int, Mapping[str, Any]], None] | None = None,
        on_line: Callable[[int, str], None] | None = None,
        **kwargs: Any,
    ) -> Result:
        """Call ``function(shard, **kwargs)`` on every rank, or ``function(**kwargs)`` without data.

        ``data`` is spread over the ranks; each gets its `Shard`. ``on_report`` hears what ranks
        ``report()`` as it happens, ``on_line`` what they print (by default it goes to stderr with the
        rank in front). ``output`` is the folder in which rank 0 leaves its files.

        Raises:
            Unplaceable: the assigner refused, or Spark has too few slots; with all reasons.
            RankFailed: a rank raised, exited or was killed; names the one that failed first.
            GangLost: an executor or Python worker went away.
            GangCancelled: somebody cancelled the job.
            TooSlow: a time limit ran out.
            SparkFailed: the job failed for another reason.
        """
        from pyspark import cloudpickle

        spark = data.sparkSession if data is not None else active_session()
        now = time.monotonic()
        gang = f"{self.name}-{secrets.token_hex(3)}"
        profile = resource_profile(spark, gpus=self.gpus_per_rank)
        await_slots(spark, profile, ranks=self.ranks, limit_s=self.launch_timeout_s, gang=self.name)
        assembly = Assembly(
            gang=self.name,
            size=self.ranks,
            launch_by=now + self.launch_timeout_s,
            end_by=now + self.timeout_s if self.timeout_s is not None else None,
            began={"gathering": now},
        )
        job = GangJob(spark, tag=gang, assembly=assembly)
        hear = _ears(assembly, on_report, on_line or _print_line)
        meeting = Meeting(assembly, host=job.driver_host, heard=hear, abandoned=job.cancel)
        task = RankTask(
            meeting=meeting.address,
            key=meeting.key,
            gang=gang,
            request=self._request(),
            policy=self.policy,
            framework=self.framework,
            function=cloudpickle.dumps((function, kwargs)),
            has_data=data is not None,
            output=output,
        )
        frame = (
            data.repartition(self.ranks) if data is not None else spark.range(0, self.ranks, 1, self.ranks)
        )
        try:
            rows = job.run(frame.mapInArrow(task, SCHEMA, barrier=True, profile=profile), meeting)
        finally:
            meeting.close()
        return self._result(assembly, dict(rows))

    def _request(self) -> Request:
        return Request(
            members=self.ranks,
            devices_each=self.gpus_per_rank,
            min_memory_mib=self.min_memory_mib,
            product=self.product,
        )

    def _result(self, assembly: Assembly, values: Mapping[int, bytes | None]) -> Result:
        hellos = [assembly.hellos[task] for task in sorted(assembly.hellos)]
        placed = place(hellos, self._request(), self.policy)
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
            )
            for member, task in zip(placed.placement.members, placed.tasks, strict=True)
        )
        began = assembly.began
        return Result(
            values=tuple(pickle.loads(values[rank] or b"") for rank in range(self.ranks)),  # noqa: S301
            ranks=infos,
            phases={
                "gather": began["placing"] - began["gathering"],
                "place": began["running"] - began["placing"],
                "run": began["over"] - began["running"],
            },
        )


def _ears(
    assembly: Assembly,
    on_report: Callable[[int, Mapping[str, Any]], None] | None,
    on_line: Callable[[int, str], None],
) -> Callable[[FromTask], None]:
    """Pass on what ranks say as it is heard; a stopped gang's last words are not news."""

    def hear(message: FromTask) -> None:
        match message:
            case Report(rank=rank, values=values) if on_report is not None:
                on_report(rank, values)
            case Line(rank=rank, text=text) if assembly.error is None:
                on_line(rank, text)
            case _:
                pass

    return hear


def _print_line(rank: int, text: str) -> None:
    print(f"[rank {rank}] {text}", file=sys.stderr, flush=True)  # noqa: T201  the rank's own words
