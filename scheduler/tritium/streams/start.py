"""Edge to Spark: starts a streaming query, and again where a Connect server's Python came up too slowly."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tritium.errors import SparkFailed
from tritium.spark.words import in_words

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery

__all__ = ["started", "unheard"]

_TRIES = 3
_LIMIT_S = 10
"""Spark's own, and fixed (``PythonWorkerFactory.createSimpleWorker``)."""


def started(start: Callable[[], StreamingQuery], *, tries: int = _TRIES) -> StreamingQuery:
    """Call ``start``, up to ``tries`` times if `unheard`.

    Only a Connect server starts a Python process for ``foreachBatch``, and it does so before the query
    (``SparkConnectPlanner.handleWriteStreamOperationStart``): where that fails nothing has begun.

    Raises:
        SparkFailed: the process was too slow each time, or Spark would not start the query.
    """
    try:
        return start()
    except Exception as err:
        if not unheard(str(err)):
            raise in_words(err, what="the start of the stream") from err
        if tries == 1:
            raise SparkFailed(_sentence()) from err
    return started(start, tries=tries - 1)


def unheard(text: str) -> bool:
    """Tell from an error's text that the process which Spark starts for ``foreachBatch`` was silent.

    >>> unheard("(org.apache.spark.SparkException) Python worker failed to connect back.")
    True
    >>> unheard("(org.apache.spark.SparkException) Python worker exited unexpectedly (crashed)")
    False
    """
    return "Python worker failed to connect back" in text


def _sentence() -> str:
    return (
        f"the stream did not start: {_TRIES} times the Python process that the Spark Connect server starts "
        f"for dead_letters said nothing for {_LIMIT_S} s: the server's host is too busy, or its Python "
        "(PYSPARK_PYTHON there) does not start, about which the server's log says more"
    )
