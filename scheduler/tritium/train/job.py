"""Edge to classic Spark: one gang's barrier job, its slots, its cancel and its failures in words."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tritium.errors import SparkFailed, TooSlow, Unplaceable
from tritium.spark.conf.port import port_of
from tritium.spark.words import in_words, interrupted, jvm_ended
from tritium.train.assembly import Assembly
from tritium.train.cancel import Cancel
from tritium.train.meeting import Meeting
from tritium.train.messages import FromTask

if TYPE_CHECKING:
    from pyspark import SparkContext, SparkStageInfo
    from pyspark.resource import ResourceProfile
    from pyspark.sql import DataFrame, Row, SparkSession

__all__ = ["GangJob", "active_session", "await_slots"]

_GONE_LIMIT_S = 10.0
"""How long an ending gang's ranks are waited for before the caller is told."""
_POLL_S = 0.1
_MEETING_PORT = "spark.tritium.meeting.port"
_NOTICE_S = 2.0
_LOOK_S = 1.0
"""How often Spark is asked whether it still computes the rows."""


def active_session() -> SparkSession:
    """Return the session of this thread, else the one that the application started.

    Raises:
        SparkFailed: there is none.
    """
    from pyspark.errors import PySparkRuntimeError
    from pyspark.sql import SparkSession

    try:
        return SparkSession.active()
    except PySparkRuntimeError as err:
        raise SparkFailed("there is no SparkSession: start one, for example with tritium.session()") from err


def await_slots(
    spark: SparkSession,
    profile: ResourceProfile | None,
    *,
    ranks: int,
    limit_s: float,
    gang: str,
    cancel: Cancel,
) -> None:
    """Wait until Spark could start all ranks at once, before anything is submitted.

    Spark itself would look again every 15 s for ten minutes, and up to 4.2 such a job cannot even be
    cancelled (SPARK-58887).

    Raises:
        Unplaceable: after the limit there are still too few slots.
        GangCancelled: it was cancelled meanwhile.
    """
    scala: Any = spark.sparkContext._jsc.sc()  # noqa: SLF001  pyspark has no other way to ask
    manager = scala.resourceProfileManager()
    wanted = manager.defaultResourceProfile() if profile is None else profile._java_resource_profile  # noqa: SLF001
    manager.addResourceProfile(wanted)
    deadline = time.monotonic() + limit_s
    while (slots := _slots(scala, wanted)) < ranks:
        cancel.check()
        if time.monotonic() > deadline:
            raise Unplaceable(
                f"{gang}: {ranks} ranks must start at once; Spark had room for {slots} ({limit_s:.0f} s):",
                ["ask for fewer ranks or devices, or give the application more executors, cores or gpus"],
            )
        time.sleep(_POLL_S)


def _slots(scala: Any, profile: Any) -> int:
    """Ask Spark for the tasks it could run at once; before its first executor it cannot say."""
    if scala.getExecutorIds().isEmpty() and not scala.isLocal():
        return 0
    return int(scala.maxNumConcurrentTasks(profile))


def _stages(context: SparkContext, tag: str) -> Iterator[tuple[SparkStageInfo, bool]]:
    """The stages of a gang's job as Spark knows them, and whether they are the gang's own."""
    scala: Any = context._jsc.sc()  # noqa: SLF001  pyspark tells neither jobs of a tag nor barrier stages
    known = context.statusTracker()
    jobs = [known.getJobInfo(job) for job in scala.statusTracker().getJobIdsForTag(tag)]
    stages = [known.getStageInfo(stage) for job in jobs if job is not None for stage in job.stageIds]
    for stage in filter(None, stages):
        graph = scala.statusStore().operationGraphForStage(stage.stageId)
        yield stage, not graph.rootCluster().getBarrierClusters().isEmpty()


def _computes(context: SparkContext, tag: str) -> bool:
    """Whether tasks run that come before the gang's own: those of a shuffle, a sort, a broadcast."""
    return any(stage.numActiveTasks and not own for stage, own in _stages(context, tag))


class GangJob:
    """One gang's Spark job, found again by a tag of its own."""

    def __init__(self, spark: SparkSession, *, tag: str, assembly: Assembly) -> None:
        self._context, self._conf = spark.sparkContext, spark.conf
        self._tag = tag
        self._assembly = assembly

    @contextlib.contextmanager
    def meeting(self, heard: Callable[[FromTask], None], *, computed: bool) -> Iterator[Meeting]:
        """Open the gang's meeting where executors reach this driver, for the block.

        Where rows are ``computed``, the gang's time to start does not run while Spark does that.
        It listens on ``spark.driver.bindAddress`` and is found at ``spark.driver.host``, as Spark's own
        services are; ``spark.tritium.meeting.port`` fixes the port where a firewall asks for it.

        Raises:
            BadSpec: that is no port.
            SparkFailed: that address cannot be listened on.
        """
        conf = self._conf
        host = conf.get("spark.driver.host", None) or "localhost"
        bind = conf.get("spark.driver.bindAddress", None) or host
        port = port_of(_MEETING_PORT, conf.get(_MEETING_PORT, None))
        try:
            meeting = Meeting(
                self._assembly, bind=bind, host=host, port=port, heard=heard, abandoned=self.cancel
            )
        except OSError as err:
            where = f"{bind}:{port or '(any port)'}"
            what = "(spark.driver.bindAddress, spark.tritium.meeting.port)"
            raise SparkFailed(f"the driver cannot listen for its ranks on {where} {what}: {err}") from err
        with contextlib.closing(meeting), self._computing(meeting) if computed else contextlib.nullcontext():
            yield meeting

    @contextlib.contextmanager
    def _computing(self, meeting: Meeting) -> Iterator[None]:
        """Tell the meeting while Spark computes the rows, from a thread of its own."""
        done = threading.Event()

        def watch() -> None:
            while not (done.wait(_LOOK_S) or self._assembly.arrived):
                with contextlib.suppress(Exception):  # stages come and go while they are looked at
                    if _computes(self._context, self._tag):
                        meeting.computes()

        thread = threading.Thread(target=watch, name="tritium-computing", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def cancel(self) -> None:
        """Take the job from Spark; from any thread, and without an error if it is gone already."""
        with contextlib.suppress(Exception):
            self._context.cancelJobsWithTag(self._tag)

    def run(self, frame: DataFrame, meeting: Meeting) -> dict[int, bytes | None]:
        """Run the barrier job to its end; returns rank -> pickled value.

        Raises:
            TritiumError: what ended the gang, or what Spark's own failure means.
            Exception: what a callback of the caller's raised.
        """
        self._context.addJobTag(self._tag)
        try:
            rows = frame.collect()
        except KeyboardInterrupt:
            self._end(meeting)
            raise
        except Exception as err:
            if interrupted(err):  # and then the words are KeyboardInterrupt
                self._end(meeting)
            error = in_words(err, what="the gang's Spark job")
            if isinstance(error, SparkFailed):
                # A lost task closes its connection at once, and says more than Spark's own words.
                meeting.over.wait(_NOTICE_S)
            if not jvm_ended(err):  # where it is, every task is lost, and none of them is the cause
                error = self._strayed(meeting) or self._assembly.error or error
            self._end(meeting)
            raise meeting.failure or error from err
        finally:
            with contextlib.suppress(Exception):
                self._context.removeJobTag(self._tag)
        if ended := meeting.failure or self._assembly.error or self._unmet(rows, meeting):
            raise ended
        return {row["rank"]: row["value"] for row in rows}

    def _unmet(self, rows: Sequence[Row], meeting: Meeting) -> SparkFailed | None:
        """Say why tasks ended without having met, if they did; another attempt would not meet either."""
        if self._assembly.phase == "over":
            return None
        complaints = dict.fromkeys(row["complaint"] for row in rows if row["complaint"])
        return self._unreached("tasks cannot", meeting, "; ".join(complaints))

    def _strayed(self, meeting: Meeting) -> SparkFailed | None:
        """Find out whether those that a gang waited for in vain had started, and could not say so here."""
        if not isinstance(self._assembly.error, TooSlow) or "placing" in self._assembly.began:
            return None
        missing = sorted(set(range(self._assembly.size)) - self._assembly.arrived)
        done = 0
        with contextlib.suppress(Exception):  # of the JVM, which may have forgotten or gone
            done = sum(stage.numCompletedTasks for stage, own in _stages(self._context, self._tag) if own)
        if not done or not missing:
            return None
        return self._unreached(
            f"tasks {missing} were started, and cannot", meeting, "see their executors' logs"
        )

    def _unreached(self, who: str, meeting: Meeting, why: str) -> SparkFailed:
        where = ":".join(map(str, meeting.address))
        return SparkFailed(
            f"{self._assembly.gang}: {who} reach the driver at {where} "
            f"(spark.driver.host, spark.tritium.meeting.port): {why}"
        )

    def _end(self, meeting: Meeting) -> None:
        meeting.cancel()
        self.cancel()
        meeting.over.wait(_GONE_LIMIT_S)
