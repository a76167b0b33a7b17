"""``tritium.Gang``: run a function on ranks that start, run and end as one, and again if machines fail."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tritium.assign import POLICIES
from tritium.assign.types import BadRequest, Constraints, Request
from tritium.errors import BadSpec, TritiumError
from tritium.spark.capability import on_connect
from tritium.spark.profile import resource_profile
from tritium.spark.splits import BySpark, Reading
from tritium.train import checkpoints as kept
from tritium.train.assembly import Assembly
from tritium.train.attempts import tried
from tritium.train.board import BOARD, Witness, serve_metrics
from tritium.train.book import Book
from tritium.train.cancel import Cancel
from tritium.train.connect import ConnectJob, require_slots
from tritium.train.contract import Attempt
from tritium.train.ears import ears, print_line
from tritium.train.frameworks import FRAMEWORKS
from tritium.train.job import GangJob, active_session, await_slots
from tritium.train.output import own_output
from tritium.train.placing import Asked
from tritium.train.result import Result, result_of
from tritium.train.rows import rows_of
from tritium.train.script import payload
from tritium.train.task import SCHEMA, RankTask
from tritium_discovery import Uuid

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["Gang"]


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
    group: int = 1
    """Ranks that must lie ``near`` each other, e.g. 4 for tensor parallel; consecutive ranks."""
    near: Literal["host", "switch", "nvlink"] = "host"
    """What the devices of one group share: a host, a PCIe switch, or a net of NVLinks."""
    prefer: tuple[Constraints, ...] = ()
    """Wished for, most important first: what cannot be had is given up, the last wish first."""
    policy: str = "packed"
    """How the assigner chooses: a name in ``tritium.assign.POLICIES``."""
    priority: int = 1
    """Models of a lower priority give their devices up to it (`predict`, whose priority is 0 unless it says
    another); the others it waits for."""
    framework: str = "torch"
    """Whose environment contract the ranks get: a name in ``tritium.train.frameworks.FRAMEWORKS``."""
    spool_mib: int | None = None
    """Most that the rows of one rank may take on its executor's disk while the gang runs; ``None``: all but
    512 MiB of what is free there."""
    name: str = "gang"
    """What errors and logs call it."""
    launch_timeout_s: float = 120.0
    """Limit for Spark to start all tasks, and again for their devices to become free; computing the data
    comes before these, reading it between the two, and neither has a limit of its own."""
    timeout_s: float | None = None
    """Limit for each attempt, the data included; none by default: training takes as long as it takes."""
    retries: int = 0
    """How often it is tried again when a machine fails: a lost executor, a killed rank, a broken device, and
    not a bug. What is in ``run(checkpoints=...)`` is where the next attempt goes on."""

    stall_timeout_s: float | None = None
    """Limit for a rank that reports, gathers and prints nothing: the gang ends with the stacks of all
    ranks in the error (``.trace``); none by default."""
    silence_timeout_s: float = 30.0
    """Limit for what stands still: a driver, a Python worker or a guardian that is not heard, a rank
    stopped by a signal. What is gone is known at once."""
    _cancels: set[Cancel] = field(default_factory=set, init=False, repr=False, compare=False)
    """Of the runs that are in progress."""

    def __post_init__(self) -> None:
        numbers: list[tuple[str, object, int | None]] = [
            ("ranks", self.ranks, 1),
            ("gpus_per_rank", self.gpus_per_rank, 0),
            ("retries", self.retries, 0),
            ("priority", self.priority, None),
        ]
        problems = [
            f"{field}: expected an integer{'' if least is None else f' >= {least}'}, got {value!r}"
            for field, value, least in numbers
            if not isinstance(value, int) or (least is not None and value < least)
        ]
        problems += [
            f"{field}: {value!r} is unknown; there are {', '.join(sorted(known))}"
            for field, value, known in (
                ("policy", self.policy, POLICIES.keys()),
                ("framework", self.framework, FRAMEWORKS.keys()),
            )
            if value not in known
        ]
        try:
            _ = self.request
        except BadRequest as err:
            problems = problems or [*err.problems]
        if problems:
            raise BadSpec("Gang", problems)

    def run(
        self,
        function: Callable[..., Any] | str | Path,
        data: DataFrame | None = None,
        *,
        args: Sequence[str] = (),
        output: Path | None = None,
        checkpoints: str | Path | None = None,
        splits: bool = True,
        on_report: Callable[[int, Mapping[str, Any]], None] | None = None,
        on_line: Callable[[int, str], None] | None = None,
        on_retry: Callable[[TritiumError], None] | None = None,
        **kwargs: Any,
    ) -> Result:
        """Call ``function(shard, **kwargs)`` on every rank, or ``function(**kwargs)`` without data.

        Instead of a function it may be the path of a script, which runs as ``python train.py *args`` would.
        ``data`` is spread over the ranks; each gets its `Shard`. Of a plain scan of Parquet files ranks read
        whole row groups themselves; else, and with ``splits=False``, Spark shuffles rows, which are spooled.
        ``output`` is where rank 0 leaves its files: they appear there when the gang has succeeded.
        ``checkpoints`` is a folder, or the URL of an object store, for `tritium.checkpoint`; a gang goes on
        where that ends. ``on_report`` hears what ranks ``report()`` as it happens, ``on_line`` what they
        print (by default it goes to stderr with the rank in front), ``on_retry`` why an attempt failed that
        is followed by another.

        Raises:
            CodeMissing: there is no such script, or a value cannot be read at the driver.
            Unplaceable: the assigner refused, or Spark has too few slots; with all reasons.
            RankFailed: a rank raised, exited or was killed; names the one that failed first.
            GangLost: an executor or Python worker went away.
            GangCancelled: somebody cancelled the job, or `cancel` was called.
            TooSlow: a time limit ran out.
            CannotPublish: output or checkpoints could not be written.
            SparkFailed: the job failed for another reason.
        """
        pickled = payload(function, args, kwargs)
        spark = data.sparkSession if data is not None else active_session()
        serve_metrics(spark)
        rows, how = rows_of(spark, data, self.ranks, splits=splits)
        failed: list[TritiumError] = []

        def retry(error: TritiumError) -> None:
            failed.append(error)
            if on_retry is not None:
                on_retry(error)

        with Cancel.noted(self._cancels, self.name) as cancel:
            work = _Work(
                gang=self,
                spark=spark,
                cancel=cancel,
                function=pickled,
                rows=rows,
                reading=how,
                output=output,
                checkpoints=str(checkpoints) if checkpoints is not None else None,
                on_report=on_report,
                on_line=on_line or print_line,
            )
            result = tried(work.attempt, retries=self.retries, on_retry=retry)
        return replace(result, failed=tuple(failed))

    def cancel(self) -> None:
        """End what this gang runs in this process, from any thread or callback; `run` raises GangCancelled.

        Every rank is gone within about a second, or three if it ignores SIGTERM; `run` returns after that.
        """
        for cancel in tuple(self._cancels):
            cancel.ask()

    @property
    def request(self) -> Request:
        """What it asks the assigner for."""
        return Request(
            members=self.ranks,
            devices_each=self.gpus_per_rank,
            min_memory_mib=self.min_memory_mib,
            product=self.product,
            group=self.group,
            near=self.near,
            prefer=self.prefer,
            priority=self.priority,
        )


@dataclass(slots=True, kw_only=True)
class _Work:
    """One call of `Gang.run`, whatever attempts it takes."""

    gang: Gang
    spark: SparkSession
    cancel: Cancel
    function: bytes
    """The user's function and its keyword arguments, pickled."""
    rows: DataFrame
    reading: Reading | None
    """How its rows come, if it has data: decided once, so that every attempt has the same."""
    output: Path | None
    checkpoints: str | None
    on_report: Callable[[int, Mapping[str, Any]], None] | None
    on_line: Callable[[int, str], None]
    name: str = ""
    """Unique id of the gang, the same for all attempts."""
    avoid: dict[Uuid, str] = field(default_factory=dict)
    """Devices that failed in an earlier attempt, and how."""

    def __post_init__(self) -> None:
        self.name = f"{self.gang.name}-{secrets.token_hex(3)}"

    def attempt(self, number: int) -> Result:
        """Run the gang once.

        Raises:
            TritiumError: see `Gang.run`.
        """
        gang, profile = self.gang, resource_profile(self.spark, gpus=self.gang.gpus_per_rank)
        began = time.monotonic()
        connected, cancel = on_connect(self.spark), self.cancel
        if connected:
            require_slots(self.spark, ranks=gang.ranks, gpus_per_rank=gang.gpus_per_rank, gang=gang.name)
        else:
            limit_s = gang.launch_timeout_s
            await_slots(self.spark, profile, ranks=gang.ranks, limit_s=limit_s, gang=gang.name, cancel=cancel)
        queued_s = time.monotonic() - began
        # Before the launch limit begins: the newest checkpoint is read to its end.
        book = kept.begin(self.checkpoints) if self.checkpoints is not None else Book()
        cancel.check()
        assembly, owner = self._assembly(), f"{self.name}.{number}"
        asked = Asked(request=gang.request, policy=gang.policy, avoid=dict(self.avoid))
        job: Any = (ConnectJob if connected else GangJob)(self.spark, tag=owner, assembly=assembly)
        witness = Witness(BOARD, owner=owner, assembly=assembly, asked=asked)
        with (
            own_output(self.output) as output,
            ears(assembly, witness, self.on_report, self.on_line) as heard,
            job.meeting(heard, computed=isinstance(self.reading, BySpark)) as meeting,
            witness,
            cancel.ending(job.cancel if connected else meeting.cancel),
        ):
            task = RankTask(
                meeting=meeting.address,
                key=meeting.key,
                attempt=Attempt(
                    gang=self.name, number=number, output=output, checkpoints=self.checkpoints, book=book
                ),
                asked=asked,
                framework=gang.framework,
                function=self.function,
                reading=self.reading,
                spool_mib=gang.spool_mib,
                silence_s=gang.silence_timeout_s,
            )
            frame = self.rows.mapInArrow(task, SCHEMA, barrier=True, profile=profile)
            try:
                values = job.run(frame, meeting)
            finally:
                self.avoid.update(assembly.sick)
        return result_of(assembly, values, asked=asked, queue_s=queued_s)

    def _assembly(self) -> Assembly:
        gang, now = self.gang, time.monotonic()
        return Assembly(
            gang=gang.name,
            size=gang.ranks,
            launch_s=gang.launch_timeout_s,
            launch_by=now + gang.launch_timeout_s,
            end_by=now + gang.timeout_s if gang.timeout_s is not None else None,
            silence_s=gang.silence_timeout_s,
            stall_s=gang.stall_timeout_s,
            # Gangs that compete for the same devices must not look again in step.
            again_s=random.uniform(0.1, 0.5),  # noqa: S311  no secret
            began={"gathering": now},
        )
