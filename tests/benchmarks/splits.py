"""Rows per second through a model that does nothing much, beside predict_batch_udf of the same Spark.

784 random float32 per row in one slot: read as splits, as array columns through the JVM, and with the peer.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark import cloudpickle
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import SparkSession
from pyspark.sql.types import FloatType

import tritium

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

cloudpickle.register_pickle_by_value(sys.modules[__name__])
_ROWS, _WIDTH, _COPIES = 60_000, 784, 8
_BATCH, _ROUNDS = 1024, 3
_SHORT = "TRITIUM_BENCH_ROUNDS"
"""Fewer rounds, to see whether it still runs."""


def load(_: Any) -> Any:
    return lambda batch: batch["x"].sum(axis=1)


def make_predict_fn() -> Any:
    return lambda x: x.sum(axis=1)


def main() -> str:
    """Measure, and return a Markdown table."""
    os.environ.update(TRITIUM_MACHINE="two-t4", SPARK_LOCAL_IP="127.0.0.1", PYSPARK_PYTHON=sys.executable)
    spark = (
        SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.log.level", "ERROR")
        .config("spark.driver.memory", "4g")
        .getOrCreate()
    )
    rounds = int(os.environ.get(_SHORT, _ROUNDS))
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "x.parquet")
        _write(path)
        frame = spark.read.parquet(*[path] * _COPIES)
        peer = predict_batch_udf(
            make_predict_fn, return_type=FloatType(), batch_size=_BATCH, input_tensor_shapes=[[_WIDTH]]
        )
        ways: dict[str, Callable[[], DataFrame]] = {
            "predict_batch_udf": lambda: frame.select(peer("x").alias("y")),
            "predict, array column": lambda: _predicted(frame, splits=False),
            "predict, splits": lambda: _predicted(frame, splits=True),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for at in range(-1, rounds):
            for name, way in ways.items():
                took = _timed(way())
                print(
                    f"{name}: {took:.2f} s{'' if at >= 0 else ' (warming up)'}", file=sys.stderr, flush=True
                )
                seconds[name] += [took] if at >= 0 else []
    spark.stop()
    theirs = statistics.median(seconds["predict_batch_udf"])
    rows = [
        f"### Inference: {_ROWS * _COPIES:,} rows of {_WIDTH} random float32 in Parquet, one slot, local[1]",
        "| how | rows/s | faster |",
        "|---|---|---|",
    ]
    for name, times in seconds.items():
        middle = statistics.median(times)
        rows.append(f"| {name} | {_ROWS * _COPIES / middle:,.0f} | {theirs / middle:.1f}x |")
    return "\n".join(rows)


def _predicted(frame: DataFrame, *, splits: bool) -> DataFrame:
    return tritium.predict(
        frame, model=load, input=["x"], keep=[], output="y float", batch_size=_BATCH, splits=splits
    )


def _write(path: str) -> None:
    values = np.random.default_rng(0).random(_ROWS * _WIDTH, dtype=np.float32)
    offsets = np.arange(0, len(values) + 1, _WIDTH, dtype=np.int32)
    table = pa.table({"id": np.arange(_ROWS), "x": pa.ListArray.from_arrays(offsets, values)})
    pq.write_table(table, path, row_group_size=10_000, use_dictionary=False)


def _timed(frame: DataFrame) -> float:
    began = time.perf_counter()
    frame.write.format("noop").mode("overwrite").save()
    return time.perf_counter() - began


if __name__ == "__main__":
    print(main())
