"""A model is loaded once per device, however many tasks and queries feed it and however long they pause."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pyspark import cloudpickle
from pyspark.sql import SparkSession

import tritium
from rigs.cluster import local
from rigs.jars import KAFKA, for_spark
from rigs.kafka import Broker
from rigs.processes import eventually
from tritium.streams import Json, KafkaSource, Parquet, Stream

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]
cloudpickle.register_pickle_by_value(sys.modules[__name__])
_TASKS, _DEVICES = 8, 2
_GAP_S = 90
"""Spark ends Python workers that were idle for 60 s."""
_LIMIT_S = 180


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    with local(_TASKS, machine="two-t4", conf={"spark.jars": for_spark(KAFKA)}) as session:
        yield session


class Counted:
    """A model whose loads leave a file each, and whose tasks' processes do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, device: Any) -> Any:
        (self.folder / f"load-{device.uuid}-{os.getpid()}").touch()

        def predict(batch: Mapping[str, Any]) -> Any:
            time.sleep(0.2)
            return batch["n"] * 2.0

        return predict

    def preprocess(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        (self.folder / f"worker-{os.getpid()}").touch()
        return batch

    def seen(self, what: str) -> set[str]:
        return {path.name for path in self.folder.glob(f"{what}-*")}


def started(kafka: Broker, model: Counted, folder: Path) -> Stream:
    return tritium.stream(
        KafkaSource(servers=kafka.servers, topic="numbers"),
        model=model.load,
        preprocess=model.preprocess,
        sink=Parquet(path=str(folder / "out")),
        checkpoint=folder / "checkpoint",
        decode=Json(schema="n long"),
        batch_size=4,
        every_s=0.5,
    )


def test_eight_tasks_of_two_queries_with_a_long_gap_load_a_model_once_per_device(
    spark: SparkSession, kafka: Broker, tmp_path: Path
) -> None:
    kafka.create("numbers", partitions=_TASKS)
    marks = tmp_path / "marks"
    marks.mkdir()
    model = Counted(marks)

    def answered(query: str) -> int:
        return spark.read.schema("n long").parquet(str(tmp_path / query / "out")).count()

    def send(first: int, last: int) -> None:
        kafka.produce("numbers", [json.dumps({"n": n}).encode() for n in range(first, last)])
        eventually(lambda: all(answered(query) == last for query in ("a", "b")), limit_s=_LIMIT_S)

    with started(kafka, model, tmp_path / "a"), started(kafka, model, tmp_path / "b"):
        eventually(lambda: all((tmp_path / q / "out" / "_spark_metadata").is_dir() for q in ("a", "b")))
        send(0, 160)
        before = model.seen("worker")
        time.sleep(_GAP_S)
        send(160, 320)

    assert len(before) > 1
    assert model.seen("worker") > before, "the gap was too short to end the tasks' processes"
    assert len(model.seen("load")) == _DEVICES, model.seen("load")
