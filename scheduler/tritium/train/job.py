"""Edge to classic Spark: one gang's barrier job, its slots, its cancel and its failures in words."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from tritium.errors import GangCancelled, SparkFailed, TritiumError, Unplaceable
from tritium.train.assembly import Assembly
from tritium.train.meeting import Meeting

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["GangJob", "active_session", "await_slots"]

_GONE_LIMIT_S = 10.0
"""How long an ending gang's ranks are waited for before the caller is told."""
_POLL_S = 0.1
_NOTICE_S = 2.0


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
    spark: SparkSession, profile: ResourceProfile | None, *, ranks: int, limit_s: float, gang: str
) -> None:
    """Wait until Spark could start all ranks at once, before anything is submitted.

    Spark itself would look again every 15 s for ten minutes, and up to 4.2 such a job cannot even be
    cancelled (SPARK-58887).

    Raises:
        Unplaceable: after the limit there are still too few slots.
    """
    scala: Any = spark.sparkContext._jsc.sc()  # noqa: SLF001  pyspark has no other way to ask
    manager = scala.resourceProfileManager()
    wanted = manager.defaultResourceProfile() if profile is None else profile._java_resource_profile  # noqa: SLF001
    manager.addResourceProfile(wanted)
    deadline = time.monotonic() + limit_s
    while (slots := _slots(scala, wanted)) < ranks:
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


class GangJob:
    """One gang's Spark job, found again by a tag of its own."""

    def __init__(self, spark: SparkSession, *, tag: str, assembly: Assembly) -> None:
        self._context = spark.sparkContext
        self._tag = tag
        self._assembly = assembly
        self.driver_host: str = self._context.getConf().get("spark.driver.host") or "localhost"
        """Where executors reach this driver."""

    def cancel(self) -> None:
        """Take the job from Spark; from any thread, and without an error if it is gone already."""
        with contextlib.suppress(Exception):
            self._context.cancelJobsWithTag(self._tag)

    def run(self, frame: DataFrame, meeting: Meeting) -> dict[int, bytes | None]:
        """Run the barrier job to its end; returns rank -> pickled value.

        Raises:
            TritiumError: what ended the gang, or what Spark's own failure means.
        """
        self._context.addJobTag(self._tag)
        try:
            rows = frame.collect()
        except KeyboardInterrupt:
            self._end(meeting)
            raise
        except Exception as err:
            error = _in_words(err)
            if isinstance(error, SparkFailed):
                # A lost task closes its connection at once, and says more than Spark's own words.
                meeting.over.wait(_NOTICE_S)
            error = self._assembly.error or error
            self._end(meeting)
            raise error from err
        finally:
            self._context.removeJobTag(self._tag)
        if self._assembly.error is not None:
            raise self._assembly.error
        return {row["rank"]: row["value"] for row in rows}

    def _end(self, meeting: Meeting) -> None:
        meeting.cancel()
        self.cancel()
        meeting.over.wait(_GONE_LIMIT_S)


def _in_words(err: Exception) -> TritiumError:
    text = str(err)
    if "cancelled" in text:
        return GangCancelled("the gang's Spark job was cancelled")
    first = next((line for line in text.splitlines() if line.strip()), type(err).__name__)
    return SparkFailed(f"the gang's Spark job failed: {first}")
