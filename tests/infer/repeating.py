"""A driver program for tests: predicts into Parquet while a task is slow, or fails, the first time.

``repeating.py CONF FOLDER``; a model's loads, and the attempts of tasks, leave files in FOLDER.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark import cloudpickle
from pyspark.sql import SparkSession

import tritium

cloudpickle.register_pickle_by_value(sys.modules[__name__])
_ROWS, _TASKS = 200, 4


@dataclass(frozen=True)
class Stumble:
    """``preprocess`` that is slow or fails in the middle of the first attempt of one task."""

    how: str
    """``slow`` or ``fails``."""
    folder: Path

    def __call__(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        import time

        from pyspark import TaskContext

        context = TaskContext.get()
        assert context is not None
        task, attempt = context.partitionId(), context.attemptNumber()
        (self.folder / f"{self.how} {task} {attempt}").touch()
        stumbled = self.folder / f"{self.how} stumbled"
        if (task, attempt) == (1, 0) and (batch["id"] == _ROWS // _TASKS + 20).any():
            stumbled.touch()
            if self.how == "fails":
                raise OSError("a disk of the first attempt")
            time.sleep(300)  # Spark kills it when the other attempt is there
        if task == 1 and attempt > 0:
            # Spark speculates early on a busy machine: the first attempt must have come to its row.
            give_up_at = time.monotonic() + 120
            while not stumbled.exists() and time.monotonic() < give_up_at:
                time.sleep(0.05)
        return batch


def main(conf: Mapping[str, str], folder: Path) -> dict[str, list[float]]:
    spark = SparkSession.builder.config(map=dict(conf)).getOrCreate()

    def load(device: Any) -> Any:
        import os

        (folder / f"load {device.uuid} {os.getpid()}").touch()
        return lambda batch: batch["id"] * 2.0

    found = {}
    for how in ("slow", "fails"):
        out = str(folder / f"out-{how}")
        rows = spark.range(0, _ROWS, 1, _TASKS)
        tritium.predict(rows, model=load, preprocess=Stumble(how, folder), batch_size=5).write.parquet(out)
        found[how] = [row.prediction for row in spark.read.parquet(out).orderBy("id").collect()]
    spark.stop()
    return found


if __name__ == "__main__":
    print(json.dumps({"found": main(json.loads(sys.argv[1]), Path(sys.argv[2]))}), flush=True)
    sys.stdin.readline()
