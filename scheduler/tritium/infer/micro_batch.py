"""Edge to Spark: which micro-batch of which stream a task is a part of.

Spark tells each task, as `StreamExecution` has it. It does not where a Connect client's ``foreachBatch``
starts the jobs, which the server runs in threads of their own: there a tag goes with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tritium.spark.capability import on_connect

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["micro_batch", "told"]

_QUERY, _BATCH = "sql.streaming.queryId", "streaming.sql.batchId"
"""As Spark's ``StreamExecution`` calls them: the query's id is its checkpoint's."""
_TAGS = "spark.job.tags"
_TAG = re.compile(r"tritium-batch=(\d+)=([^,]+)")


@contextmanager
def told(spark: SparkSession, *, query: str, batch: int) -> Iterator[None]:
    """Let the tasks of what is run in the block know their micro-batch, where Spark does not say it."""
    if not on_connect(spark):
        yield
        return
    tag = f"tritium-batch={batch}={query}"
    spark.addTag(tag)
    try:
        yield
    finally:
        spark.removeTag(tag)


def micro_batch(context: Any) -> tuple[str, int] | None:
    """Return the stream's id and the number of the micro-batch that a task is a part of, if it is of one."""
    query, batch = context.getLocalProperty(_QUERY), context.getLocalProperty(_BATCH)
    if query is not None and batch is not None:
        return query, int(batch)
    found = _TAG.search(context.getLocalProperty(_TAGS) or "")
    return None if found is None else (found[2], int(found[1]))
