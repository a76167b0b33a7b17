"""Run by tests as a driver: one task per device, each says what it was granted and which card that is."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from pyspark import TaskContext
from pyspark.sql import SparkSession


def granted(_: Iterable[int]) -> Iterator[dict[str, Any]]:
    from tritium_discovery import Settings, claims, discover, state_directory

    context = TaskContext.get()
    assert context is not None
    addresses = list(context.resources()["gpu"].addresses)
    settings = Settings.from_env(os.environ)
    devices = claims.resolve(
        [int(address) for address in addresses],
        directory=state_directory(settings),
        inventory=discover(settings),
    )
    time.sleep(float(os.environ.get("TEST_SLEEP_S", "0")))
    yield {"addresses": addresses, "uuids": [device.uuid for device in devices], "worker": os.getppid()}


def main() -> None:
    master, tasks, *conf = sys.argv[1:]
    builder = SparkSession.builder.master(master).config("spark.ui.enabled", "false")
    for pair in conf:
        key, _, value = pair.partition("=")
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    context = spark.sparkContext
    driver = f"spark://CoarseGrainedScheduler@{context.getConf().get('spark.driver.host')}:"
    driver += str(context.getConf().get("spark.driver.port"))
    print(json.dumps({"driver": driver, "app": context.applicationId}), flush=True)
    found = context.parallelize(range(int(tasks)), int(tasks)).mapPartitions(granted).collect()
    print(json.dumps(found), flush=True)
    spark.stop()


if __name__ == "__main__":
    main()
