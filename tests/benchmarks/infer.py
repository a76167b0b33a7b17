"""How fast tensors and rows of 4 floats come through a model that only sums, beside predict_batch_udf."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import FloatType

import tritium
from benchmarks.inference.measure import WIDTH, consumed, in_turn, rates, started, tensors
from tritium.columns import to_numpy
from tritium.infer.batches import rebatch
from tritium.spark.scan import reading
from tritium.spark.splits_read import map_rows

_TENSOR_ROWS, _GROUP, _BATCH = 480_000, 20_480, 1024
_NARROW_ROWS, _NARROW_BATCH = 2_000_000, 8192


def load_sum(_: Any) -> Any:
    return lambda columns: columns["x"].sum(axis=1)


def make_sum() -> Any:
    return lambda x: x.sum(axis=1)


class Direct:
    """The same model in the task itself: no process of its own, no memory that is shared, nothing ahead."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        predict = load_sum(None)
        for batch in rebatch(batches, self.batch_size):
            y = predict({"x": to_numpy(batch.column("x"), name="x")})
            yield pa.RecordBatch.from_arrays([pa.array(y)], names=["y"])


def main() -> str:
    """Measure, and return Markdown tables."""
    with started() as (spark, folder):
        tables = ["\n".join(part(spark, folder)) for part in (_tensors, _narrow)]
    return "\n\n".join([*tables, _NOTE])


_NOTE = """\
In these tables and the next the tasks of `tritium.predict` read the file's splits themselves, where no line
says otherwise. They do so in classic sessions and on `file:` only: through Spark Connect, and from s3a:// or
hdfs://, Spark reads the rows, and the line "array columns from the JVM" is the one that holds."""


def _tensors(spark: SparkSession, folder: Path) -> list[str]:
    rows = tensors(spark, folder / "tensors", rows=_TENSOR_ROWS, width=WIDTH, group=_GROUP)
    taken = in_turn(
        {
            "predict_batch_udf": lambda: consumed(_peer(rows, _BATCH, WIDTH)),
            "tritium.predict, tasks read the file's splits": lambda: consumed(_ours(rows, _BATCH)),
            "tritium.predict, array columns from the JVM": lambda: consumed(
                _ours(rows, _BATCH, splits=False)
            ),
            "no owner: the model in the task, which reads the file's splits": lambda: consumed(
                _direct(rows, _BATCH)
            ),
        }
    )
    title = f"### Inference: {_TENSOR_ROWS:,} tensors of {WIDTH} random float32, which are summed, one slot"
    return [title, *rates(_TENSOR_ROWS, taken)]


def _narrow(spark: SparkSession, folder: Path) -> list[str]:
    rows = tensors(spark, folder / "narrow", rows=_NARROW_ROWS, width=4, group=_NARROW_ROWS // 4)
    expression = tritium.predict_udf(
        make_sum, return_type=FloatType(), batch_size=_NARROW_BATCH, input_tensor_shapes=[[4]]
    )
    taken = in_turn(
        {
            "predict_batch_udf": lambda: consumed(_peer(rows, _NARROW_BATCH, 4)),
            "tritium.predict": lambda: consumed(_ours(rows, _NARROW_BATCH)),
            "tritium.predict_udf": lambda: consumed(rows.select(expression("x").alias("y"))),
            "no owner: the model in the task": lambda: consumed(_direct(rows, _NARROW_BATCH)),
        }
    )
    title = f"### Inference: {_NARROW_ROWS:,} rows of 4 floats, which are summed, one slot"
    return [title, *rates(_NARROW_ROWS, taken)]


def _peer(rows: DataFrame, batch_size: int, width: int) -> DataFrame:
    udf = predict_batch_udf(
        make_sum, return_type=FloatType(), batch_size=batch_size, input_tensor_shapes=[[width]]
    )
    return rows.select(udf("x").alias("y"))


def _ours(rows: DataFrame, batch_size: int, *, splits: bool = True) -> DataFrame:
    return tritium.predict(
        rows, model=load_sum, keep=[], output="y float", batch_size=batch_size, splits=splits
    )


def _direct(rows: DataFrame, batch_size: int) -> DataFrame:
    return map_rows(rows, Direct(batch_size), "y float", reading=reading(rows))


if __name__ == "__main__":
    from pyspark import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules["__main__"])
    print(main())
