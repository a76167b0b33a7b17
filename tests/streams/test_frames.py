"""What becomes of a stream's rows before the model and after it, in Spark's own expressions and tasks."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

import tritium
from tritium.errors import BadSpec
from tritium.streams import Json, Parquet
from tritium.streams.decode import decoded
from tritium.streams.write import _uncut

pytestmark = [pytest.mark.kafka, pytest.mark.delta]

NO_OBJECT = "the value is no JSON object of the schema"
MORE = "something follows the value's JSON object; send one object a message"


def test_a_message_is_one_object_of_json_and_what_follows_it_is_not_lost_without_a_word(
    spark: SparkSession,
) -> None:
    said = {
        '{"n": 1}': None,
        ' {"n": 1, "more": [1, {"n": 2}]}\n': None,
        '{"n": 1} {"n": 2}': MORE,
        '{"n": 1}\n{"n": 2}': MORE,
        '{"n": 1},{"n": 2}': MORE,
        '{"n": 1} garbage': MORE,
        '{"n": 1}}': MORE,
        '{"n": "one"}': NO_OBJECT,
        '[{"n": 1}]': NO_OBJECT,
        "": NO_OBJECT,
        "{}": "n is missing",
        None: "the value is null",
    }
    rows = spark.createDataFrame([(text,) for text in said], "value string")

    found = decoded(rows, Json(schema="n long not null")).collect()

    assert {row.value: row.error.message if row.error else None for row in found} == said


def test_a_model_without_inputs_is_refused_and_does_not_get_all(spark: SparkSession, tmp_path: Path) -> None:
    numbers = spark.readStream.format("rate").load()

    with pytest.raises(BadSpec, match="input: the model gets no columns"):
        tritium.stream(
            numbers,
            model=print,
            input=(),
            sink=Parquet(path=str(tmp_path / "out")),
            checkpoint=tmp_path / "c",
        )


def test_each_file_is_read_by_one_task_within_the_block_and_as_before_after_it(
    spark: SparkSession, tmp_path: Path
) -> None:
    path = str(tmp_path / "rows")
    spark.range(0, 100_000, 1, 3).write.option("parquet.block.size", "65536").parquet(path)
    spark.conf.set("spark.sql.files.maxPartitionBytes", "65536")

    with _uncut(spark):
        within = spark.read.parquet(path).rdd.getNumPartitions()
    after = spark.read.parquet(path).rdd.getNumPartitions()

    assert within == 3
    assert after > 3
    assert spark.conf.get("spark.sql.files.maxPartitionBytes") == "65536"
