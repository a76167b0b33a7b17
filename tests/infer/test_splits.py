"""`tritium.predict` and `tritium.Gang` over files that their tasks read themselves."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark import cloudpickle
from pyspark.sql import SparkSession

import tritium
from tritium import reading
from tritium.errors import BadSpec, SparkFailed
from tritium.infer import failures, read_reports
from tritium.spark.splits import BySpark, Splits

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def table(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("table") / "t")
    rows = spark.range(0, 4000, 1, 4).selectExpr(
        "id", "id % 3 as k", "transform(sequence(0, 7), n -> cast(id + n as float)) as x", "'long' as unused"
    )
    rows.write.partitionBy("k").parquet(path)
    return path


def total(_: Any) -> Any:
    def predict(batch: Mapping[str, Any]) -> Any:
        assert set(batch) == {"x", "k"}
        return batch["x"].sum(axis=1) + batch["k"]

    return predict


def test_predictions_are_the_same_whoever_reads_the_rows(spark: SparkSession, table: str) -> None:
    df = spark.read.parquet(table)
    assert isinstance(reading(df), Splits)
    given: Any = {"model": total, "input": ["x", "k"], "keep": ["k", "id"], "batch_size": 100}

    mine = tritium.predict(df, **given)
    sparks = tritium.predict(df, splits=False, **given)

    assert mine.columns == ["k", "id", "prediction"]
    assert not mine.inputFiles()
    assert sparks.inputFiles()
    rows = mine.collect()
    assert rows == sparks.collect()
    assert sorted(row.id for row in rows) == list(range(4000))
    assert all(row.prediction == 8 * row.id + 28 + row.k for row in rows)


def test_spark_does_not_think_that_a_table_has_the_size_of_its_tasks_numbers(
    spark: SparkSession, table: str
) -> None:
    """A join would collect it in the driver, and send it to every executor."""
    predicted = tritium.predict(spark.read.parquet(table), model=total, input=["x", "k"], keep=["id"])
    assert not predicted.inputFiles()
    large = spark.range(0, 10_000_000)

    plan = predicted.join(large, "id")._jdf.queryExecution().toString()

    assert "MapInArrow" in plan
    assert "Broadcast" not in plan


def test_a_run_says_who_read_its_rows_and_why(spark: SparkSession, table: str, tmp_path: Path) -> None:
    given: Any = {"model": total, "input": ["x", "k"], "report": tmp_path}
    plain, filtered = spark.read.parquet(table), spark.read.parquet(table).where("id < 3")

    said = []
    for df, splits in ((plain, True), (plain, False), (filtered, True)):
        tritium.predict(df, splits=splits, **given).collect()
        said.append({report.reading for report in read_reports(tmp_path)})

    assert said == [
        {reading(plain).sentence},
        {"Spark reads the rows: splits=False"},
        {"Spark reads the rows: its plan filters rows (FilterExec)"},
    ]
    assert "Parquet files themselves" in reading(plain).sentence


def test_a_column_that_is_not_kept_may_have_the_name_of_a_new_one(spark: SparkSession, table: str) -> None:
    df = spark.read.parquet(table).where("id < 3")

    out = tritium.predict(df, model=total, input=["x", "k"], keep=["id"], output="x double")

    assert sorted(map(tuple, out.collect())) == [(0, 28.0), (1, 37.0), (2, 46.0)]
    with pytest.raises(BadSpec, match=r"predict: keep: there is no column 'y'; there are id, x, unused, k"):
        tritium.predict(df, model=total, keep=["y"])


def doubled(_: Any) -> Any:
    return lambda batch: batch["id"] * 2.0


def test_a_file_that_was_replaced_after_the_call_is_one_clear_error(
    spark: SparkSession, tmp_path: Path
) -> None:
    spark.range(0, 100, 1, 1).write.parquet(str(tmp_path / "t"))
    answers = tritium.predict(spark.read.parquet(str(tmp_path / "t")), model=doubled)
    (file,) = (tmp_path / "t").glob("*.parquet")

    pq.write_table(pa.table({"id": range(1000)}), file, row_group_size=100)

    with pytest.raises(SparkFailed, match=r"written anew .* run again$"), failures():
        answers.collect()


def shard_of(data: Any) -> Any:
    return data.number, data.numpy()["id"].tolist()


@pytest.mark.parametrize("splits", [True, False])
def test_every_row_is_in_one_ranks_shard(spark: SparkSession, table: str, *, splits: bool) -> None:
    df = spark.read.parquet(table).select("id")

    result = tritium.Gang(ranks=2, gpus_per_rank=0).run(shard_of, df, splits=splits)

    assert sorted(number for number, _ in result.values) == [0, 1]
    assert sorted(n for _, ids in result.values for n in ids) == list(range(4000))
    assert all(len(ids) >= 1000 for _, ids in result.values)


def test_a_table_of_too_few_row_groups_is_shuffled_for_a_gang(spark: SparkSession, tmp_path: Path) -> None:
    spark.range(0, 10, 1, 1).write.parquet(str(tmp_path / "small"))
    df = spark.read.parquet(str(tmp_path / "small"))
    assert not isinstance(reading(df), BySpark)

    result = tritium.Gang(ranks=2, gpus_per_rank=0).run(shard_of, df)

    assert sorted(n for _, ids in result.values for n in ids) == list(range(10))
