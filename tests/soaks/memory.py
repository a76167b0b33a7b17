"""Memory of the Python worker over many rows: flat, however many there are.

``python tests/soaks/memory.py [ROWS]`` from the repository's root, 10 million rows of 64 float32 by default.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark import cloudpickle
from pyspark.sql import SparkSession

import tritium

cloudpickle.register_pickle_by_value(sys.modules[__name__])
_WIDTH, _FILE_ROWS, _GROUP_ROWS = 64, 500_000, 50_000


def load(_: Any) -> Any:
    worker = psutil.Process()
    peak = 0

    def predict(batch: Any) -> Any:
        nonlocal peak
        peak = max(peak, worker.memory_info().rss >> 20)
        return {"y": batch["x"].sum(axis=1), "mib": np.full(len(batch["x"]), peak)}

    return predict


def main(rows: int) -> str:
    """Run it over a tenth of the rows and over all of them, and return Markdown."""
    os.environ.update(TRITIUM_MACHINE="two-t4", SPARK_LOCAL_IP="127.0.0.1", PYSPARK_PYTHON=sys.executable)
    spark = (
        SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.log.level", "ERROR")
        .getOrCreate()
    )
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "x.parquet")
        values = np.random.default_rng(0).random(_FILE_ROWS * _WIDTH, dtype=np.float32)
        offsets = np.arange(0, len(values) + 1, _WIDTH, dtype=np.int32)
        table = pa.table({"x": pa.ListArray.from_arrays(offsets, values)})
        pq.write_table(table, path, row_group_size=_GROUP_ROWS, use_dictionary=False)
        del values, table
        for number in (rows // 10, rows):
            for splits in (True, False):
                frame = spark.read.parquet(*[path] * max(1, number // _FILE_ROWS)).coalesce(1)
                out = tritium.predict(
                    frame, model=load, keep=[], output="y float, mib long", batch_size=4096, splits=splits
                )
                answer = out.agg({"mib": "max", "y": "count"}).first()
                assert answer is not None
                how = "splits" if splits else "array column"
                lines.append(f"| {how} | {answer['count(y)']:,} | {answer['max(mib)']} |")
                print(lines[-1], file=sys.stderr, flush=True)
    spark.stop()
    return "\n".join(["| how | rows | MiB of the model's process, at most |", "|---|---|---|", *lines])


if __name__ == "__main__":
    print(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000))
