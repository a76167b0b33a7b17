"""A driver program for tests: with whatever properties it was given, runs a stage, a gang and inference.

Says ``stage``, ``gang`` and ``inference``, or ``failed`` with the error; with TEST_TASKS=0 no stage of
Spark's own comes before the gang.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from pyspark.sql import SparkSession

import tritium
from tritium.errors import TritiumError
from tritium.spark.jvm import stop


def say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


def train() -> tuple[str, str]:
    import os

    rank = tritium.rank()
    return rank.devices[0].uuid, os.environ["OMP_NUM_THREADS"]


def load(device: Any) -> Any:
    import numpy as np

    uuid = device.uuid
    return lambda rows: np.full(len(rows["id"]), uuid, object)


def wide(batches: Any) -> Any:
    """Meet at a file per task: it ends when all of them run at once."""
    import time
    from pathlib import Path

    import pyarrow as pa
    from pyspark import TaskContext

    context = TaskContext.get()
    assert context is not None
    list(batches)
    folder = Path(str(context.getLocalProperty("spark.test.folder")))
    (folder / f"{context.partitionId()}").touch()
    deadline = time.monotonic() + 300
    while len(list(folder.iterdir())) < int(str(context.getLocalProperty("spark.test.tasks"))):
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    yield pa.RecordBatch.from_pydict({"met": [len(list(folder.iterdir()))]})


def main() -> None:
    builder = SparkSession.builder
    if len(sys.argv) > 1:
        builder = builder.config(map=json.loads(sys.argv[1]))
    spark = builder.getOrCreate()
    tasks = int(os.environ["TEST_TASKS"])
    try:
        if tasks:
            rows = spark.range(0, tasks, 1, tasks).mapInArrow(wide, "met bigint").collect()
            say(stage=[row.met for row in rows])
        say(gang=tritium.Gang(ranks=2).run(train).values)
        frame = tritium.predict(spark.range(0, 4, 1, 4), model=load, output="uuid string")
        say(inference=sorted({row.uuid for row in frame.collect()}))
    except TritiumError as err:
        say(failed=[type(err).__name__, str(err)])
    stop(spark)
    say(stopped=True)


if __name__ == "__main__":
    main()
