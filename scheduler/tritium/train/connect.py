"""Edge to Spark Connect: one gang's barrier job, seen from a client that its tasks cannot reach."""

from __future__ import annotations

import contextlib
import math
import pickle
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from tritium.errors import GangCancelled, GangLost, SparkFailed, TooSlow, TritiumError, Unplaceable
from tritium.spark.words import in_words
from tritium.train.assembly import Assembly
from tritium.train.capacity import NEEDED, capacity
from tritium.train.hosting import Hosted, Story
from tritium.train.messages import FromTask

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row, SparkSession

__all__ = ["ConnectJob", "Remote", "require_slots"]

_LOST = re.compile(r"failed barrier ResultStage|ExecutorLostFailure|Python worker exited unexpectedly")
_RAISED = re.compile(r"^tritium\.errors\.(GangLost|TooSlow): (.*)", re.MULTILINE)
"""What a task of ours raised (`Place`), in a traceback of Python's."""
_POLL_S = 0.1
_AGAIN_S = 1.0
"""How often the server is asked again to interrupt the operation."""
_SLACK_S = 4.0
"""How old the server's last word of running tasks may be (``spark.connect.progress.reportInterval``, 2 s)."""
_ENDING_S = 30.0
"""How long after its time limit a gang may take to end by itself, which tells more: its tasks count from
Spark's start of the first, then say where they are, then end."""


def require_slots(spark: SparkSession, *, ranks: int, gpus_per_rank: int, gang: str) -> None:
    """Refuse a gang that the server's properties leave no room for.

    Which executors there are a client is not told. A barrier job with too few slots would stay in Spark's
    slot check for ten minutes, where nobody can cancel it before Spark 4.3 (SPARK-58887).

    Raises:
        Unplaceable: there can never be enough slots.
    """
    known = spark.conf.getAll  # asking for one after the other takes as long each time
    values = {key: known.get(key, "") for key in NEEDED}
    room = capacity(values, gpus_per_rank=gpus_per_rank)
    if room is not None and room < ranks:
        said = ", ".join(f"{key}={value}" for key, value in values.items() if value)
        raise Unplaceable(
            f"{gang}: {ranks} ranks must start at once; the server has room for {room} at most ({said}):",
            ["ask for fewer ranks or devices, or give the application more executors, cores or gpus"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A meeting that takes place at the gang's first task."""

    address: Hosted
    key: bytes
    heard: Callable[[FromTask], None]


class ConnectJob:
    """One gang's job on a Connect server, found again by a tag of its own."""

    def __init__(self, spark: SparkSession, *, tag: str, assembly: Assembly) -> None:
        self._spark, self._tag, self._assembly = spark, tag, assembly
        self._cancelled = threading.Event()

    @contextlib.contextmanager
    def meeting(self, heard: Callable[[FromTask], None], *, computed: bool) -> Iterator[Remote]:
        """Describe the meeting that the first task will hold; see `Hosted` for ``computed`` rows."""
        start_by = math.inf if computed else time.time() + self._assembly.launch_s + _SLACK_S
        hosted = Hosted(assembly=self._assembly, now=time.monotonic(), start_by=start_by)
        yield Remote(address=hosted, key=secrets.token_bytes(32), heard=heard)

    def cancel(self) -> None:
        """Let `run` take the job from Spark; from any thread, and before the server knows of it too."""
        self._cancelled.set()

    def run(self, frame: DataFrame, meeting: Remote) -> dict[int, bytes | None]:
        """Run the barrier job to its end, then tell what was heard in it; returns rank -> pickled value.

        Raises:
            TritiumError: what ended the gang, or what Spark's own failure means.
            Exception: what a callback of the caller's raised.
        """
        watch = _Watch(self._assembly, cancelled=self._cancelled, interrupt=self._interrupt)
        self._spark.addTag(self._tag)
        try:
            with watch.watching(self._spark):
                rows = frame.collect()
        except KeyboardInterrupt:
            self._interrupt()
            raise
        except Exception as err:
            raise watch.error or self._meant(err) from err
        finally:
            with contextlib.suppress(Exception):
                self._spark.removeTag(self._tag)
        self._take(rows, meeting)
        return {row["rank"]: row["value"] for row in rows}

    def _interrupt(self) -> None:
        with contextlib.suppress(Exception):  # the job is gone already, or its server
            self._spark.interruptTag(self._tag)

    def _meant(self, err: Exception) -> TritiumError:
        text = str(err)
        if raised := _RAISED.findall(text):
            kind, sentence = raised[-1]
            return (GangLost if kind == "GangLost" else TooSlow)(sentence)
        # The failure of any task of a barrier stage reads as if it were lost: what it raised says more.
        if "Traceback" not in text and _LOST.search(text):
            first = next((line.strip() for line in text.splitlines() if "Failure" in line), "")
            what = "its executor or Python worker went away"
            return GangLost(f"{self._assembly.gang}: lost a task: {what}: {first}".removesuffix(": "))
        return in_words(err, what="the gang's Spark job")

    def _take(self, rows: Sequence[Row], meeting: Remote) -> None:
        """Make what the first task knows this client's own, and raise what ended the gang."""
        told = next((row["story"] for row in rows if row["story"] is not None), None)
        if told is None:
            complaints = dict.fromkeys(row["complaint"] for row in rows if row["complaint"])
            raise SparkFailed(f"{self._assembly.gang}: its tasks did not meet: {'; '.join(complaints)}")
        story: Story = pickle.loads(told)  # noqa: S301  our own task's
        for one in fields(Assembly):
            setattr(self._assembly, one.name, getattr(story.assembly, one.name))
        error, self._assembly.error = (
            self._assembly.error,
            None,
        )  # it silences lines, and these came before it
        for message in story.heard:
            meeting.heard(message)
        self._assembly.error = error
        if error is not None:
            raise error
        if story.failure is not None:
            raise SparkFailed(f"{self._assembly.gang}: its meeting failed: {story.failure}")


class _Watch:
    """Ends the gang's operation when somebody has cancelled it, and when it is late.

    Spark has the launch limit to start something of the gang, by what its server reports of progress. A
    gang ends itself at its time limit; where it cannot, since no task of it runs or a machine stands
    still, this does it.
    """

    def __init__(
        self, assembly: Assembly, *, cancelled: threading.Event, interrupt: Callable[[], None]
    ) -> None:
        self._gang, self._limit_s, self._end_by = assembly.gang, assembly.launch_s, assembly.end_by
        self._cancelled, self._interrupt = cancelled, interrupt
        self._running, self._since = 0, time.monotonic()
        self._done = threading.Event()
        self.error: TritiumError | None = None

    @contextlib.contextmanager
    def watching(self, spark: SparkSession) -> Iterator[None]:
        """Watch the operation that this thread runs in the block."""
        caller = threading.get_ident()

        def progress(*, inflight_tasks: int, **_: Any) -> None:
            # The handler hears of all operations of the session, each in the thread that waits for it.
            if threading.get_ident() != caller:
                return
            # Progress is also reported while nothing runs, and that is no progress.
            if inflight_tasks or self._running:
                self._since = time.monotonic()
            self._running = inflight_tasks

        timer = threading.Thread(target=self._watch, name="tritium-watch", daemon=True)
        handler: Any = progress
        spark.registerProgressHandler(handler)
        timer.start()
        try:
            yield
        finally:
            self._done.set()
            spark.removeProgressHandler(handler)
            timer.join()

    def _watch(self) -> None:
        while not self._done.wait(_POLL_S if self.error is None else _AGAIN_S):
            self.error = self.error or self._verdict(time.monotonic())
            if self.error is not None:
                # The server interrupts what it knows of, and may not know of the operation yet.
                self._interrupt()

    def _verdict(self, now: float) -> TritiumError | None:
        """Say why the gang must end, if so."""
        if self._cancelled.is_set():
            return GangCancelled(f"{self._gang}: was cancelled")
        if self._end_by is not None and now > self._end_by + _ENDING_S:
            return TooSlow(
                f"{self._gang}: was still running {_ENDING_S:g} s after its time limit (timeout_s): its "
                "tasks did not end by themselves; Spark may still compute its rows, or a worker stands still"
            )
        if not self._running and now - self._since > self._limit_s + _SLACK_S:
            return TooSlow(
                f"{self._gang}: did not start within {self._limit_s:g} s (launch_timeout_s): Spark runs none "
                "of its tasks; through Spark Connect free slots cannot be counted, so look whether other "
                "jobs have them"
            )
        return None
