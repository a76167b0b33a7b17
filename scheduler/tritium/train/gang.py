"""``tritium.Gang``: run one function on ranks that start, run and end as one."""

from __future__ import annotations

import pickle
import random
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritium.assign import POLICIES
from tritium.assign.types import Request
from tritium.errors import BadSpec, CodeMissing
from tritium.spark.profile import resource_profile
from tritium.spark.scan import reading
from tritium.spark.splits import BySpark, Reading, dealt
from tritium.spark.splits_read import map_rows
from tritium.train.assembly import Assembly
from tritium.train.frameworks import FRAMEWORKS
from tritium.train.job import GangJob, active_session, await_slots
from tritium.train.messages import FromTask, Line, Report
from tritium.train.placing import Placed, place
from tritium.train.task import SCHEMA, RankTask
from tritium_discovery import Device

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

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
    """Limit for Spark to start all tasks, and again for their devices to become free; reading the data
    lies between the two and has no limit of its own."""
    timeout_s: float | None = None
    """Limit for the whole run, the data included; none by default: training takes as long as it takes."""

    stall_timeout_s: float | None = None
    """Limit for a rank that reports, gathers and prints nothing: the gang ends with the stacks of all
    ranks in the error (``.trace``); none by default."""
    silence_timeout_s: float = 30.0
    """Limit for what stands still: a driver, a Python worker or a guardian that is not heard, a rank
    stopped by a signal. What is gone is known at once."""

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
        splits: bool = True,
        on_report: Callable[[int, Mapping[str, Any]], None] | None = None,
        on_line: Callable[[int, str], None] | None = None,
        **kwargs: Any,
    ) -> Result:
        """Call ``function(shard, **kwargs)`` on every rank, or ``function(**kwargs)`` without data.

        ``data`` is spread over the ranks; each gets its `Shard`. Where it is a plain scan of Parquet files,
        tasks read whole row groups themselves (``splits=False``: Spark shuffles the rows). ``on_report``
        hears what ranks ``report()`` as it happens, ``on_line`` what they print (by default it goes to
        stderr with the rank in front). ``output`` is the folder in which rank 0 leaves its files.

        Raises:
            Unplaceable: the assigner refused, or Spark has too few slots; with all reasons.
            RankFailed: a rank raised, exited or was killed; names the one that failed first.
            GangLost: an executor or Python worker went away.
            GangCancelled: somebody cancelled the job.
            TooSlow: a time limit ran out.
            SparkFailed: the job failed for another reason.
        """
        spark = data.sparkSession if data is not None else active_session()
        profile = resource_profile(spark, gpus=self.gpus_per_rank)
        pickled = _pickled(function, kwargs)
        await_slots(spark, profile, ranks=self.ranks, limit_s=self.launch_timeout_s, gang=self.name)
        gang, assembly = f"{self.name}-{secrets.token_hex(3)}", self._assembly()
        job = GangJob(spark, tag=gang, assembly=assembly)
        with job.meeting(_ears(assembly, on_report, on_line or _print_line)) as meeting:
            task = RankTask(
                meeting=meeting.address,
                key=meeting.key,
                gang=gang,
                request=self._request(),
                policy=self.policy,
                framework=self.framework,
                function=pickled,
                has_data=data is not None,
                output=output,
                silence_s=self.silence_timeout_s,
            )
            rows, how = self._rows(spark, data, splits=splits)
            frame = map_rows(rows, task, SCHEMA, reading=how, barrier=True, profile=profile)
            values = job.run(frame, meeting)
        return self._result(assembly, values)

    def _rows(
        self, spark: SparkSession, data: DataFrame | None, *, splits: bool
    ) -> tuple[DataFrame, Reading]:
        """What each task begins with, and how it reads its rows."""
        if data is None:
            return _one_row_each(spark, self.ranks), BySpark(why="there is no data")
        how = dealt(reading(data), self.ranks) if splits else BySpark(why="splits=False")
        return (data.repartition(self.ranks) if isinstance(how, BySpark) else data), how

    def _assembly(self) -> Assembly:
        now = time.monotonic()
        return Assembly(
            gang=self.name,
            size=self.ranks,
            launch_s=self.launch_timeout_s,
            launch_by=now + self.launch_timeout_s,
            end_by=now + self.timeout_s if self.timeout_s is not None else None,
            silence_s=self.silence_timeout_s,
            stall_s=self.stall_timeout_s,
            # Gangs that compete for the same devices must not look again in step.
            again_s=random.uniform(0.1, 0.5),  # noqa: S311  no secret
            began={"gathering": now},
        )

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
            values=tuple(_loaded(values[rank], rank) for rank in range(self.ranks)),
            ranks=infos,
            phases={
                "gather": began["placing"] - began["gathering"],
                "place": began["running"] - began["placing"],
                "run": began["over"] - began["running"],
            },
        )


def _one_row_each(spark: SparkSession, ranks: int) -> DataFrame:
    return spark.range(0, ranks, 1, ranks)


def _pickled(function: Callable[..., Any], kwargs: Mapping[str, Any]) -> bytes:
    from pyspark import cloudpickle

    try:
        return bytes(cloudpickle.dumps((function, dict(kwargs))))
    except Exception as err:
        problem = f"the function and its arguments cannot be sent to the ranks: {err}"
        raise BadSpec("Gang.run", [problem]) from err


def _loaded(value: bytes | None, rank: int) -> Any:
    try:
        return pickle.loads(value or b"")  # noqa: S301  what our own rank returned
    except Exception as err:
        raise CodeMissing(f"what rank {rank} returned cannot be read at the driver: {err}") from err


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
