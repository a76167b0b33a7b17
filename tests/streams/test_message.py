"""What a topic gets: whole answers, dead letters as they were, and an id that is each message's own."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rigs.cluster import local
from tritium.streams.message import answers, letters

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark
OURS, THEIRS = Path("/one/checkpoint"), Path("/another/checkpoint")
ERROR = ("predict", "ValueError", "two")


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    with local(1, machine="two-t4") as session:
        yield session


def rows(spark: SparkSession, *messages: dict[str, Any]) -> DataFrame:
    """Rows as a model leaves them; of one message, but for what is given."""
    usual = {
        "key": b"k", "value": b"{}", "headers": None, "topic": "a", "partition": 0, "offset": 7,
        "prediction": 1.0, "error": None,
    }  # fmt: skip
    schema = """key binary, value binary, headers array<struct<key string, value binary>>, topic string,
        partition int, offset long, prediction double,
        error struct<step string, type string, message string>"""
    return spark.createDataFrame([{**usual, **message} for message in messages], schema)


def sent(frame: DataFrame) -> list[tuple[Any, dict[str, Any]]]:
    """Value and headers of each message."""
    return [(row.value, {name: bytes(value) for name, value in row.headers}) for row in frame.collect()]


def told(frame: DataFrame, checkpoint: Path) -> list[dict[str, Any]]:
    """Answer, and say what the headers of the answers are."""
    return [headers for _, headers in sent(answers(frame, ("prediction",), checkpoint=checkpoint))]


def ids(spark: SparkSession, checkpoint: Path, *messages: dict[str, Any]) -> list[str]:
    return [headers["tritium-id"].decode() for headers in told(rows(spark, *messages), checkpoint)]


def test_an_id_says_where_a_message_comes_from_and_which_stream_made_it(spark: SparkSession) -> None:
    other = {"offset": 8}

    first = ids(spark, OURS, {}, other, {"headers": [("trace", b"x")]})

    assert first == ids(spark, OURS, {}, other, {})
    assert [name.rpartition("/")[0] for name in first] == ["a/0/7", "a/0/8", "a/0/7"]
    assert set(first).isdisjoint(ids(spark, THEIRS, {}, other))


def test_copies_of_a_message_stay_copies_through_the_next_stream(spark: SparkSession) -> None:
    once, again, other = (
        {"topic": "b", "offset": offset, "headers": [(name, headers[name]) for name in headers]}
        for offset, headers in enumerate(told(rows(spark, {}, {}, {"offset": 8}), OURS))
    )

    found = ids(spark, THEIRS, once, again, other)

    assert found[0] == found[1] != found[2]
    assert [name.rsplit("/", 2)[0] for name in found] == ["a/0/7", "a/0/7", "a/0/8"]
    assert [list(headers) for headers in told(rows(spark, once), THEIRS)] == [["tritium-id"]]


def test_an_answer_has_all_of_its_columns(spark: SparkSession) -> None:
    frame = rows(spark, {}, {"prediction": None, "error": ERROR}, {"prediction": math.nan})

    values = [
        json.loads(value) for value, _ in sent(answers(frame, ("prediction", "error"), checkpoint=OURS))
    ]

    assert values == [
        {"prediction": 1.0, "error": None},
        {"prediction": None, "error": {"step": "predict", "type": "ValueError", "message": "two"}},
        {"prediction": "NaN", "error": None},
    ]


def test_a_message_without_a_value_has_an_answer_and_is_a_dead_letter_without_one(
    spark: SparkSession,
) -> None:
    frame = rows(spark, {"value": None, "error": ERROR}, {"value": b"raw", "error": ERROR})

    dead = sent(letters(frame, checkpoint=OURS))

    assert [value for value, _ in dead] == [None, b"raw"]
    assert [headers["tritium-error"] for _, headers in dead] == [b"two", b"two"]
    assert all(value for value, _ in sent(answers(frame, ("prediction",), checkpoint=OURS)))


def test_a_dead_letter_that_is_sent_again_and_answered_is_none_any_more(spark: SparkSession) -> None:
    (dead,) = sent(letters(rows(spark, {"error": ERROR}), checkpoint=OURS))
    again = {"topic": "dead", "headers": [*dead[1].items(), ("trace", b"x")]}

    (headers,) = told(rows(spark, again), THEIRS)

    assert set(headers) == {"tritium-id", "trace"}
    assert headers["tritium-id"].startswith(dead[1]["tritium-id"])
