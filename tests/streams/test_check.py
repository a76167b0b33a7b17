"""What a check of a model returns: nothing, or something true, lets it serve; ending its process does not."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from pyspark import cloudpickle

from rigs.cluster import local
from tritium.errors import GangCancelled, SparkFailed
from tritium.streams.load import CheckDied, _CheckTask, checked, what_failed

cloudpickle.register_pickle_by_value(sys.modules[__name__])
MODEL = Path("model")
LOST = "Lost task 0.3 in stage 1.0 (TID 9): ExecutorLostFailure (executor 1 exited "


@pytest.mark.parametrize("verdict", [None, True, np.True_, np.float64(0.5) > 0.1, 1, "good"])
def test_nothing_and_what_is_true_lets_a_model_pass(verdict: object) -> None:
    assert _CheckTask(check=lambda _: verdict, path=MODEL)._why() is None


@pytest.mark.parametrize("verdict", [False, np.False_, np.float64(0.5) > 0.9, 0, ""])
def test_what_is_not_true_rejects_it(verdict: object) -> None:
    assert _CheckTask(check=lambda _: verdict, path=MODEL)._why() == f"its check returned {verdict!r}"


def test_an_answer_that_is_neither_rejects_it() -> None:
    why = _CheckTask(check=lambda _: np.array([True, True]), path=MODEL)._why()

    assert why is not None
    assert why.startswith("ValueError: The truth value of an array")


@pytest.mark.spark
def test_a_check_that_ends_its_process_is_told_from_one_that_fails() -> None:
    def die(path: Path) -> None:
        if path.name == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if path.name == "left":
            os._exit(1)
        raise ValueError(path.name)

    with local(1, machine="two-t4") as spark:
        ask = checked(spark, die)

        for name in ("killed", "left"):
            with pytest.raises(
                CheckDied, match=f"^the check of version {name} of the model ended its process: "
            ):
                ask(Path(name))
        assert ask(Path("raised")) == "ValueError: raised"


def test_an_executor_that_a_task_ended_counts_as_its_process() -> None:
    ended = RuntimeError(
        f"{LOST}caused by one of the running tasks) Reason: exit code 137\nDriver stacktrace:"
    )

    failed = what_failed(ended, version="5e")

    assert isinstance(failed, CheckDied)
    assert failed.how == (
        "ExecutorLostFailure (executor 1 exited caused by one of the running tasks) Reason: exit code 137"
    )


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f"{LOST}unrelated to the running tasks) Reason: the node is gone", SparkFailed),
        ("Job 3 cancelled because SparkContext was shut down", GangCancelled),
    ],
)
def test_what_the_check_is_not_to_blame_for_does_not_count(text: str, kind: type[Exception]) -> None:
    assert type(what_failed(RuntimeError(text), version="5e")) is kind
