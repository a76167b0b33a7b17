"""A driver program for tests: a gang of two and inference over two tasks, on whatever conf it was given."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from pyspark.sql import SparkSession

import tritium


def say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


def see() -> tuple[list[str], list[str]]:
    return os.environ["CUDA_VISIBLE_DEVICES"].split(","), [device.uuid for device in tritium.rank().devices]


def load(device: Any) -> Any:
    import numpy as np

    return lambda rows: np.full(len(rows["id"]), device.uuid, object)


if __name__ == "__main__":
    spark = SparkSession.builder.config(map=json.loads(sys.argv[1])).getOrCreate()
    say(gang=tritium.Gang(ranks=2).run(see).values)
    frame = tritium.predict(spark.range(0, 8, 1, 8), model=load, output="uuid string")
    say(inference=sorted({row.uuid for row in frame.collect()}))
    spark.stop()
    say(stopped=True)
