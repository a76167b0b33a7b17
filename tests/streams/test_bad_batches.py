"""Micro-batches of nothing but bad rows end no stream of which others were good: the owner knows of those."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pyspark import cloudpickle
from pyspark.sql import SparkSession

from rigs.cluster import local
from streams.messages import drain
from tritium.errors import ModelFailed
from tritium.streams import Parquet

pytestmark = pytest.mark.spark
cloudpickle.register_pickle_by_value(sys.modules[__name__])

GOOD, BAD = range(10), range(100, 200)


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    with local(1, machine="one-gpu") as session:
        yield session


def below_100(batch: Mapping[str, Any]) -> Mapping[str, Any]:
    """Pass on what is small; each row fails that is not."""
    if (batch["n"] >= 100).any():
        raise ValueError("not below 100")
    return batch


def load(_: Any) -> Any:
    """Load a model that fails on the same rows, where they come to it."""
    return lambda batch: below_100(batch)["n"] * 2.0


def run(spark: SparkSession, folder: Path, batches: list[list[int | None]], **options: Any) -> list[Any]:
    """Make a stream of so many micro-batches; returns its rows."""
    (folder / "in").mkdir()
    for at, batch in enumerate(batches):
        file = folder / "in" / f"{at}.json"
        file.write_text("\n".join(json.dumps({"n": n}) for n in batch))
        os.utime(file, (at, at))  # which Spark orders them by
    rows = spark.readStream.schema("n long").option("maxFilesPerTrigger", 1).json(str(folder / "in"))
    sink = Parquet(path=str(folder / "out"))
    drain(rows, sink, folder / "checkpoint", model=load, on_error="quarantine", **options)
    return sorted(spark.read.parquet(sink.path).collect(), key=lambda row: row.n or 0)


@pytest.mark.parametrize(
    ("step", "bad", "options"),
    [
        ("decode", [None] * 100, {}),
        ("preprocess", [*BAD], {"preprocess": below_100}),
        ("predict", [*BAD], {}),
    ],
)
def test_a_batch_of_bad_rows_after_a_good_one_is_put_aside(
    spark: SparkSession, tmp_path: Path, step: str, bad: list[int | None], options: Mapping[str, Any]
) -> None:
    found = run(spark, tmp_path, [[*GOOD], bad], **options)

    assert [row.prediction for row in found if row.error is None] == [n * 2.0 for n in GOOD]
    assert [row.error.step for row in found if row.error is not None] == [step] * len(bad)


def test_another_stream_has_to_show_anew_that_its_preprocess_works(
    spark: SparkSession, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    run(spark, tmp_path / "one", [[*GOOD]], preprocess=below_100)

    with pytest.raises(ModelFailed, match="preprocess failed: ValueError: not below 100"):
        run(spark, tmp_path / "two", [[*BAD]], preprocess=below_100)
