"""What an inference task said is found again in the wall of text that Spark makes of it."""

from __future__ import annotations

import traceback

import pytest

from tritium.errors import CannotHold, ModelFailed, SparkFailed, TritiumError, Unplaceable
from tritium.infer.failures import failures, said_by_task
from tritium_discovery import DiscoveryError, StaleAddress

TRACE = 'Traceback (most recent call last):\n  File "user.py", line 3, in load\nValueError: no rows\n'


def wall(error: Exception) -> str:
    """What Spark makes of an error in a Python worker (``PythonException`` inside a failed job)."""
    try:
        raise error
    except (TritiumError, DiscoveryError):
        worker = traceback.format_exc()
    where = "Lost task 3.3 in stage 1.0 (TID 9) (127.0.0.1 executor 1)"
    python = (
        f"org.apache.spark.api.python.PythonException: {worker}\n\tat org.apache.spark.api.python.Base.read"
    )
    return f"Job aborted due to stage failure: {where}: {python}"


def test_a_failed_model_comes_back_with_task_device_cause_and_the_users_traceback() -> None:
    error = ModelFailed(task=3, device="GPU-1", cause="load failed: ValueError: no rows")
    error.add_note(TRACE)

    found = said_by_task(wall(error))

    assert isinstance(found, ModelFailed)
    assert str(found) == "inference task 3 on GPU-1: load failed: ValueError: no rows"
    assert (found.task, found.device, found.cause) == (3, "GPU-1", "load failed: ValueError: no rows")
    assert found.trace == TRACE


@pytest.mark.parametrize(
    ("raised", "want"),
    [
        (Unplaceable("task 1: none will do:", ["a: 5 MiB, 9 needed", "b: held"]), Unplaceable),
        (CannotHold("task 1 waited 60 s for a device: GPU-1 is held by rank 0 (pid 7)"), CannotHold),
        (StaleAddress("address 3 was not reported"), SparkFailed),
    ],
)
def test_other_refusals_of_a_task_keep_their_sentence(raised: Exception, want: type[TritiumError]) -> None:
    found = said_by_task(wall(raised))

    assert type(found) is want
    assert str(found) == str(raised)
    assert getattr(found, "reasons", None) == getattr(raised, "reasons", None)


def test_errors_that_no_task_raised_pass_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="a disk is full"), failures():
        raise RuntimeError("a disk is full")


def test_an_error_is_found_behind_another_that_it_caused() -> None:
    written = OSError("Task failed while writing rows")
    written.__cause__ = RuntimeError(wall(CannotHold("task 1 waited")))

    with pytest.raises(CannotHold) as caught, failures():
        raise written

    assert str(caught.value) == "task 1 waited"
    assert caught.value.__suppress_context__
