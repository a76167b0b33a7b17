"""Memory of the processes that feed a model and that own it, over many rows: flat, however many there are.

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
    def predict(batch: Any) -> Any:
        return {
            "y": batch["x"].sum(axis=1),
            "task": batch["task"],
            "owner": np.full(len(batch["x"]), resident_mib()),
        }

    return predict


def preprocess(batch: Any) -> Any:
    return {"x": batch["x"], "task": np.full(len(batch["x"]), resident_mib())}


def resident_mib() -> int:
    return int(psutil.Process().memory_info().rss >> 20)


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
                    frame, model=load, preprocess=preprocess, keep=[], batch_size=4096, splits=splits,
                    output="y float, task long, owner long",
                )  # fmt: skip
                answer = out.agg({"task": "max", "owner": "max", "y": "count"}).first()
                assert answer is not None
                how = "splits" if splits else "array column"
                most = f"{answer['max(task)']} | {answer['max(owner)']}"
                lines.append(f"| {how} | {answer['count(y)']:,} | {most} |")
                print(lines[-1], file=sys.stderr, flush=True)
    spark.stop()
    return "\n".join(
        ["| how | rows | MiB of the task's process, at most | of the owner's |", "|---|---|---|---|", *lines]
    )


if __name__ == "__main__":
    print(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000))
