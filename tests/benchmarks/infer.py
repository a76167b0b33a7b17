"""How fast tensors come, how busy a device is and what a row costs: one slot, beside predict_batch_udf."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import FloatType

import tritium
from tritium.infer import read_reports
from tritium.infer.profile import merged, table

_WIDTH, _ROWS, _BATCH = 784, 120_000, 2048
_DEVICE_S = 0.03
"""What the emulated device takes for a batch."""
_TENSOR_ROWS, _GROUP = 480_000, 20_480
_NARROW_ROWS = 2_000_000
_ROUNDS = 3


def sharpen(x: Any) -> Any:
    """A preprocessing step that takes the CPU about as long as the device takes for the batch."""
    x = (x - 0.5) / 0.25
    for _ in range(6):
        x = np.sqrt(x * x + 1.0)
    return x


def preprocess(columns: Any) -> Any:
    return {"x": sharpen(columns["x"])}


def load(_: Any) -> Any:
    def predict(columns: Any) -> Any:
        time.sleep(_DEVICE_S)
        return columns["x"].sum(axis=1)

    return predict


def make_peer() -> Any:
    def predict(x: Any) -> Any:
        x = sharpen(x)
        time.sleep(_DEVICE_S)
        return x.sum(axis=1)

    return predict


def load_sum(_: Any) -> Any:
    return lambda columns: columns["x"].sum(axis=1)


def make_sum() -> Any:
    return lambda x: x.sum(axis=1)


def main() -> str:
    """Measure, and return Markdown tables."""
    with TemporaryDirectory() as folder:
        spark = tritium.session(machine="one-gpu", workers=1, cores=1, memory_mib=2048)
        try:
            parts = [part(spark, Path(folder)) for part in (_tensors, _busy, _narrow)]
            return "\n\n".join("\n".join(lines) for lines in parts)
        finally:
            spark.stop()


def _tensors(spark: SparkSession, folder: Path) -> list[str]:
    rows = _written(spark, folder / "tensors", _TENSOR_ROWS, _WIDTH, group=_GROUP)
    peer = predict_batch_udf(
        make_sum, return_type=FloatType(), batch_size=1024, input_tensor_shapes=[[_WIDTH]]
    )
    splits = tritium.predict(rows, model=load_sum, output="y float", batch_size=1024)
    columns = tritium.predict(rows.coalesce(1), model=load_sum, output="y float", batch_size=1024)
    theirs_s, splits_s, columns_s = _in_turn(
        lambda: _consumed(rows.select(peer("x").alias("y"))),
        lambda: _consumed(splits.select("y")),
        lambda: _consumed(columns.select("y")),
    )
    return [
        f"### Inference: {_TENSOR_ROWS:,} tensors of {_WIDTH} random float32, which are summed, one slot",
        "| | rows/s | of predict_batch_udf |",
        "|---|---|---|",
        *_rates(
            _TENSOR_ROWS,
            theirs_s,
            {
                "predict_batch_udf": theirs_s,
                "tritium.predict, tasks read the file's splits": splits_s,
                "tritium.predict, array columns from the JVM": columns_s,
            },
        ),
    ]


def _rates(rows: int, theirs_s: float, seconds: Mapping[str, float]) -> Iterator[str]:
    for name, taken in seconds.items():
        yield f"| {name} | {rows / taken:,.0f} | {theirs_s / taken:.2f} |"


def _busy(spark: SparkSession, folder: Path) -> list[str]:
    rows = _written(spark, folder / "wide", _ROWS, _WIDTH, group=_ROWS).coalesce(1)
    peer = predict_batch_udf(
        make_peer, return_type=FloatType(), batch_size=_BATCH, input_tensor_shapes=[[_WIDTH]]
    )
    report = folder / "report"
    ours = tritium.predict(
        rows,
        model=load,
        preprocess=preprocess,
        output="y float",
        batch_size=_BATCH,
        report=report,
    )
    theirs_s, ours_s = _in_turn(
        lambda: _consumed(rows.select(peer("x").alias("y"))), lambda: _consumed(ours.select("y"))
    )
    profile = merged(read_reports(report))
    print(table(profile), file=sys.stderr)
    device_s = _DEVICE_S * _ROWS / _BATCH
    return [
        f"### Inference: {_BATCH} rows of {_WIDTH} floats take {1000 * _DEVICE_S:.0f} ms, one slot",
        "| | rows/s | device busy |",
        "|---|---|---|",
        f"| predict_batch_udf | {_ROWS / theirs_s:,.0f} | {device_s / theirs_s:.0%} |",
        f"| tritium.predict | {_ROWS / ours_s:,.0f} | {profile.busy_share:.0%} |",
        f"\nThe device is emulated; the CPU preprocesses. {theirs_s / ours_s:.2f}x: {profile.bottleneck}.",
    ]


def _narrow(spark: SparkSession, folder: Path) -> list[str]:
    rows = _written(spark, folder / "narrow", _NARROW_ROWS, 4, group=_NARROW_ROWS).coalesce(1)
    peer = predict_batch_udf(make_sum, return_type=FloatType(), batch_size=8192, input_tensor_shapes=[[4]])
    expression = tritium.predict_udf(
        make_sum, return_type=FloatType(), batch_size=8192, input_tensor_shapes=[[4]]
    )
    ours = tritium.predict(rows, model=load_sum, output="y float", batch_size=8192)
    theirs_s, ours_s, udf_s = _in_turn(
        lambda: _consumed(rows.select(peer("x").alias("y"))),
        lambda: _consumed(ours.select("y")),
        lambda: _consumed(rows.select(expression("x").alias("y"))),
    )
    return [
        "### Inference: rows of 4 floats and a model that sums them, one slot",
        "| | rows/s | of predict_batch_udf |",
        "|---|---|---|",
        *_rates(
            _NARROW_ROWS,
            theirs_s,
            {"predict_batch_udf": theirs_s, "tritium.predict": ours_s, "tritium.predict_udf": udf_s},
        ),
    ]


def _written(spark: SparkSession, path: Path, rows: int, width: int, *, group: int) -> DataFrame:
    """Write random rows into one file."""
    path.mkdir()
    values = np.random.default_rng(7).random(rows * width, dtype=np.float32)
    offsets = pa.array(np.arange(0, rows * width + 1, width, dtype=np.int32))
    column = pa.ListArray.from_arrays(offsets, pa.array(values))
    pq.write_table(pa.table({"x": column}), path / "0.parquet", row_group_size=group, compression="none")
    return spark.read.parquet(str(path))


def _consumed(frame: DataFrame) -> None:
    frame.write.format("noop").mode("overwrite").save()


def _in_turn(*runs: Callable[[], None]) -> list[float]:
    """Run each once to warm up, then in turn; returns the median seconds of each."""
    for run in runs:
        run()
    taken: list[list[float]] = [[] for _ in runs]
    for _ in range(_ROUNDS):
        for run, seconds in zip(runs, taken, strict=True):
            began = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - began)
            print(f"{seconds[-1]:.2f} s", file=sys.stderr, flush=True)
    return [statistics.median(seconds) for seconds in taken]


if __name__ == "__main__":
    from pyspark import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules["__main__"])
    print(main())
