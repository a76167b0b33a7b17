"""A gang's job on a Connect server, whatever the server does: it is cancelled, bounded and told in words."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tritium.errors import CodeMissing, GangCancelled, GangLost, SparkFailed, TooSlow, TritiumError
from tritium.train.assembly import Assembly
from tritium.train.connect import ConnectJob, Remote
from tritium.train.hosting import Hosted

LIMIT_S = 30.0


class Server:
    """The part of a Connect session that a job uses, and the rows that it waits for.

    Args:
        deaf: how many interrupts it does not know the operation yet, or loses.
        running: how many tasks it says it runs.
    """

    def __init__(self, *, deaf: int = 0, running: int = 0, raises: Exception | None = None) -> None:
        self.deaf, self.running, self.raises = deaf, running, raises
        self.asked: list[float] = []
        self._handlers: list[Callable[..., None]] = []
        self._over = threading.Event()

    def addTag(self, tag: str) -> None:  # noqa: N802  Spark's name
        self.tag = tag

    def removeTag(self, tag: str) -> None:  # noqa: N802  Spark's name
        assert tag == self.tag

    def registerProgressHandler(self, handler: Callable[..., None]) -> None:  # noqa: N802  Spark's name
        self._handlers.append(handler)

    def removeProgressHandler(self, handler: Callable[..., None]) -> None:  # noqa: N802  Spark's name
        self._handlers.remove(handler)

    def interruptTag(self, tag: str) -> list[str]:  # noqa: N802  Spark's name
        assert tag == self.tag
        self.asked.append(time.monotonic())
        if len(self.asked) <= self.deaf:
            return []
        self._over.set()
        return ["an operation"]

    def collect(self) -> list[Any]:
        for handler in self._handlers:
            handler(inflight_tasks=self.running)
        if self.raises is not None:
            raise self.raises
        assert self._over.wait(LIMIT_S), "it waits for ever"
        raise RuntimeError("[INVALID_HANDLE.OPERATION_ABANDONED] some words of Spark's")


def assembly(*, launch_s: float = 60.0, end_by: float | None = None) -> Assembly:
    now = time.monotonic()
    return Assembly(gang="train", size=2, launch_s=launch_s, launch_by=now + launch_s, end_by=end_by)


def job_of(server: Server, what: Assembly) -> tuple[ConnectJob, Callable[[], Any]]:
    spark: Any = server
    frame: Any = server
    job = ConnectJob(spark, tag="train-1.0", assembly=what)
    hosted = Hosted(assembly=what, now=0.0, start_by=math.inf)
    remote = Remote(address=hosted, key=b"", heard=lambda _: None)
    return job, lambda: job.run(frame, remote)


def test_a_cancel_that_comes_before_the_server_knows_the_operation_is_not_lost() -> None:
    server = Server(deaf=2)
    job, run = job_of(server, assembly())

    job.cancel()
    with pytest.raises(GangCancelled, match=r"^train: was cancelled$"):
        run()

    first, *_, last = server.asked
    assert len(server.asked) == 3
    assert last - first > 1, "the server is not asked without a pause"


def test_a_cancel_from_another_thread_is_heard_while_the_gang_runs() -> None:
    server = Server(running=2)
    job, run = job_of(server, assembly())

    timer = threading.Timer(0.3, job.cancel)
    timer.start()
    with pytest.raises(GangCancelled):
        run()

    timer.join()


def test_a_gang_that_does_not_end_itself_is_ended_some_time_after_its_limit() -> None:
    server = Server(deaf=1, running=2)
    _, run = job_of(server, assembly(end_by=time.monotonic() - 60))

    with pytest.raises(TooSlow, match=r"^train: was still running 30 s after its time limit \(timeout_s\)"):
        run()

    assert len(server.asked) == 2


def test_a_gang_has_the_time_to_say_itself_where_its_ranks_were_at_its_limit() -> None:
    server = Server(running=2)
    job, run = job_of(server, assembly(end_by=time.monotonic() - 5))

    timer = threading.Timer(0.5, job.cancel)
    timer.start()
    with pytest.raises(GangCancelled):
        run()

    timer.join()


def test_a_gang_of_which_spark_runs_nothing_is_given_up_however_often_that_must_be_said() -> None:
    server = Server(deaf=1)
    _, run = job_of(server, assembly(launch_s=-4.0))

    with pytest.raises(TooSlow, match="did not start within"):
        run()

    assert len(server.asked) == 2


BARRIER = (
    "Job aborted due to stage failure: Could not recover from a failed barrier ResultStage. Most recent "
    "failure reason: Stage failed because barrier task ResultTask(3, 0) finished unsuccessfully.\n"
)
PYTHON = (
    BARRIER
    + 'org.apache.spark.api.python.PythonException: Traceback (most recent call last):\n  File "task.py", '
)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (
            BARRIER + "org.apache.spark.SparkException: Python worker exited unexpectedly (crashed)\n",
            GangLost("train: lost a task: its executor or Python worker went away"),
        ),
        (
            BARRIER + "ExecutorLostFailure (executor 1 exited caused by one of the running tasks)\n",
            GangLost(
                "train: lost a task: its executor or Python worker went away: "
                "ExecutorLostFailure (executor 1 exited caused by one of the running tasks)"
            ),
        ),
        (
            PYTHON + "line 3, in f\nValueError: a bug of ours\n\n\tat org.apache.spark.X(Y.scala)\n"
            "\n\nJVM stacktrace:\norg.apache.spark.SparkException\n\tat org.apache.spark.X(Y.scala)\n",
            SparkFailed("the gang's Spark job failed: ValueError: a bug of ours"),
        ),
        (
            PYTHON + "line 3, in f\ntritium.errors.GangLost: train: a task on b lost the gang's first task\n",
            GangLost("train: a task on b lost the gang's first task"),
        ),
        (
            PYTHON
            + "line 3, in f\ntritium.errors.GangLost: train: a task on b lost the gang's first task\n\n"
            + "During handling of the above exception, another exception occurred:\n\n"
            + "tritium.errors.TooSlow: train: was still running at its time limit\n",
            TooSlow("train: was still running at its time limit"),
        ),
    ],
)
def test_what_a_task_raised_is_told_from_a_task_that_went_away(text: str, want: TritiumError) -> None:
    _, run = job_of(Server(raises=RuntimeError(text)), assembly())

    with pytest.raises(TritiumError) as caught:
        run()

    assert (type(caught.value), str(caught.value)) == (type(want), str(want))


def test_executors_without_tritium_are_no_lost_gang() -> None:
    text = PYTHON + "line 3, in f\nModuleNotFoundError: No module named 'tritium'\n"
    _, run = job_of(Server(raises=RuntimeError(text)), assembly())

    with pytest.raises(CodeMissing, match="has no Tritium"):
        run()
