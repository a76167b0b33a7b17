"""What exceptions of Spark's mean."""

from __future__ import annotations

import pytest
from py4j.protocol import Py4JNetworkError

from tritium.errors import SparkFailed
from tritium.spark.words import in_words


def broken_off(before: BaseException | None) -> Exception:
    """What PySpark raises where its connection to the JVM does not answer, while ``before`` is handled."""
    try:
        try:
            if before is not None:
                raise before
        finally:
            raise Py4JNetworkError("Answer from Java side is empty")
    except Py4JNetworkError as err:
        found: Exception = err
    return found


def test_a_connection_that_ctrl_c_broke_off_is_an_interrupt_and_no_ended_jvm() -> None:
    with pytest.raises(KeyboardInterrupt):
        in_words(broken_off(KeyboardInterrupt()), what="the job")


@pytest.mark.parametrize("before", [None, ValueError("something else")])
def test_a_connection_that_broke_by_itself_is_an_ended_jvm(before: BaseException | None) -> None:
    assert str(in_words(broken_off(before), what="it")) == "it failed: Spark's JVM has ended"
    assert isinstance(in_words(broken_off(before), what="it"), SparkFailed)
