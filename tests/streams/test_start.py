"""A stream whose Connect server was slow to start Python is started again, a few times."""

from __future__ import annotations

from typing import Any, cast

import pytest
from pyspark.errors import PySparkException

from tritium.errors import SparkFailed
from tritium.streams.start import started

_SLOW = PySparkException(
    "(org.apache.spark.SparkException) Python worker failed to connect back.\n\nJVM stacktrace:\n"
    "Caused by: java.net.SocketTimeoutException: "
    "Timed out while waiting for the Python worker to connect back"
)
_QUERY = object()


class Starts:
    """What a writer answers, one start after the other."""

    def __init__(self, *answers: object) -> None:
        self.left = list(answers)

    def __call__(self) -> Any:
        answer = self.left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_it_is_started_again_until_python_came_up() -> None:
    starts = Starts(_SLOW, _SLOW, _QUERY)

    assert cast(object, started(starts)) is _QUERY


def test_three_times_too_slow_is_one_sentence_with_cause_and_remedy() -> None:
    starts = Starts(_SLOW, _SLOW, _SLOW, _QUERY)

    with pytest.raises(SparkFailed) as caught:
        started(starts)

    assert starts.left == [_QUERY]
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("the stream did not start: 3 times the Python process")
    assert "host is too busy, or its Python (PYSPARK_PYTHON there) does not start" in str(caught.value)


def test_any_other_failure_is_not_tried_again_and_is_a_sentence_too() -> None:
    other = PySparkException("(org.apache.spark.SparkException) Python worker exited unexpectedly (crashed)")
    starts = Starts(other, _QUERY)

    with pytest.raises(SparkFailed, match=r"the start of the stream failed: .* \(crashed\)"):
        started(starts)

    assert starts.left == [_QUERY]
