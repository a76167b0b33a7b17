"""A task knows its micro-batch, as Spark says it or, from a Connect client's ``foreachBatch``, by a tag."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tritium.errors import BadSpec
from tritium.infer.micro_batch import micro_batch, told
from tritium.infer.task import InferenceTask

QUERY = "8e2d4f1a-0000-4000-8000-000000000007"


def task(**properties: str) -> Any:
    names = {"query": "sql.streaming.queryId", "batch": "streaming.sql.batchId", "tags": "spark.job.tags"}
    known = {names[key]: value for key, value in properties.items()}
    return SimpleNamespace(getLocalProperty=known.get)


def test_spark_tells_the_tasks_of_a_stream() -> None:
    assert micro_batch(task(query=QUERY, batch="7", tags="tritium-batch=8=another")) == (QUERY, 7)


@pytest.mark.parametrize(
    "context", [task(), task(tags=""), task(tags="mine,SparkConnect_x"), task(query=QUERY)]
)
def test_other_tasks_are_of_no_stream(context: Any) -> None:
    assert micro_batch(context) is None


def test_a_task_of_no_micro_batch_gets_no_version_that_would_be_every_batchs() -> None:
    asked: list[Any] = []

    def path(*known: Any) -> Path:
        asked.append(known)
        return Path("version")

    inference: Any = SimpleNamespace(path=path, load=b"", model="m")

    InferenceTask._of_batch(inference, task(query=QUERY, batch="7"))
    with pytest.raises(BadSpec, match="a function is asked per micro-batch, and this is in none"):
        InferenceTask._of_batch(inference, task())

    assert asked == [(QUERY, 7)]


class Remote:
    """A session of Connect as far as tags go; each of its jobs has them, as the server calls them."""

    __module__ = "pyspark.sql.connect.session"

    def __init__(self) -> None:
        self.tags = {"mine"}

    def addTag(self, tag: str) -> None:  # noqa: N802  Spark's
        assert "," not in tag
        self.tags.add(tag)

    def removeTag(self, tag: str) -> None:  # noqa: N802  Spark's
        self.tags.remove(tag)

    def job(self) -> Any:
        return task(tags=",".join(f"SparkConnect_Execution_User_a_Session_b_Tag_{tag}" for tag in self.tags))


def test_on_connect_a_tag_goes_with_the_jobs_of_a_micro_batch_and_no_others() -> None:
    session: Any = Remote()

    with told(session, query=QUERY, batch=7):
        during = micro_batch(session.job())
    after = micro_batch(session.job())

    assert (during, after) == ((QUERY, 7), None)


def test_a_tag_goes_when_its_micro_batch_fails() -> None:
    session: Any = Remote()

    with pytest.raises(ValueError, match="sink"), told(session, query=QUERY, batch=7):
        raise ValueError("no sink")

    assert session.tags == {"mine"}
