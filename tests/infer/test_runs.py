"""Each use of a predicted DataFrame, and each micro-batch, leaves reports of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

import tritium
from rigs.cluster import local
from rigs.owners import by_value
from streams.messages import drain, forget_commit
from tritium.infer import read_reports, runs
from tritium.streams import Parquet

pytestmark = pytest.mark.spark
by_value(__name__)


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    with local(2, machine="two-t4") as session:
        yield session


def double(_: Any) -> Any:
    return lambda batch: batch["id"] * 2.0


def predicted(spark: SparkSession, folder: Path, *, rows: int, tasks: int) -> DataFrame:
    return tritium.predict(spark.range(0, rows, 1, tasks), model=double, report=folder)


USES: dict[str, Callable[[DataFrame], object]] = {
    "collect": lambda frame: frame.collect(),
    "iterate": lambda frame: list(frame.toLocalIterator()),
    "RDD": lambda frame: frame.rdd.count(),
    "sorted": lambda frame: frame.repartition(2, "prediction").sort("prediction").collect(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_dataframe_that_is_used_again_is_a_run_again(
    spark: SparkSession, tmp_path: Path, use: Callable[[DataFrame], object]
) -> None:
    larger, smaller = (predicted(spark, tmp_path, rows=10 * tasks, tasks=tasks) for tasks in (5, 3))

    found = []
    for frame in (larger, smaller, larger, smaller):
        use(frame)
        found.append([(report.task, report.rows) for report in read_reports(tmp_path)])

    assert found == 2 * [[(task, 10) for task in range(5)], [(task, 10) for task in range(3)]]
    assert [run.call for run in runs(tmp_path)] == 2 * [run.call for run in runs(tmp_path)[:2]]
    assert len({(run.call, run.use) for run in runs(tmp_path)}) == 4
    assert {run.batch for run in runs(tmp_path)} == {None}


def test_what_takes_several_jobs_is_one_run(spark: SparkSession, tmp_path: Path) -> None:
    rows = predicted(spark, tmp_path, rows=80, tasks=8).limit(1000).collect()

    reports = read_reports(tmp_path)
    assert len(rows) == 80
    assert sorted(report.task for report in reports) == list(range(8))
    assert len({report.stage for report in reports}) > 1
    assert len(runs(tmp_path)) == 1


def test_each_micro_batch_is_a_run_and_a_repeated_one_is_told_of_as_it_was_last(
    spark: SparkSession, tmp_path: Path
) -> None:
    for number in range(3):
        spark.range(0, 10 * (number + 1), 1, 1).write.parquet(str(tmp_path / "in" / str(number)))

    def run() -> None:
        rows = spark.readStream.schema("id long").option("maxFilesPerTrigger", 1)
        source = rows.parquet(str(tmp_path / "in" / "*"))
        sink, report = Parquet(path=str(tmp_path / "out")), tmp_path / "reports"
        drain(source, sink, tmp_path / "checkpoint", model=double, report=report)

    run()
    forget_commit(tmp_path / "checkpoint", 2)
    for name in ("2", ".2.crc"):
        (tmp_path / "out" / "_spark_metadata" / name).unlink()
    run()

    report = tmp_path / "reports"
    told = [sum(one.rows for one in read_reports(report, batch=batch)) for batch in range(3)]
    assert sorted(told) == [10, 20, 30]
    assert [run.batch for run in runs(report)] == [0, 1, 2, 2]
    assert len({run.query for run in runs(report)}) == 1
    assert read_reports(report) == read_reports(report, batch=2)
