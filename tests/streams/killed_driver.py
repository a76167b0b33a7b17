"""A driver program for tests and soaks: one topic through a model into sinks of every kind, and one killing.

``killed_driver.py SERVERS TOPIC FOLDER JARS VICTIM ROWS``: all streams are in the middle of their batch
1 when VICTIM (``driver``, ``executor`` or ``nobody``) is killed. Killed or not, a program that ends by itself
has read the whole topic, and says ``drained``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
from pyspark import TaskContext, cloudpickle

import tritium
from rigs.jars import DELTA_CONF
from tritium.streams import Delta, Json, Kafka, Parquet, Sink

cloudpickle.register_pickle_by_value(sys.modules[__name__])
_MEET_LIMIT_S = 120.0


@dataclass(frozen=True)
class Bomb:
    """Kills in partition 1 of batch 1, once partition 0 had time to write, when all streams are that far."""

    folder: Path
    name: str
    streams: int
    victim: str
    drivers: tuple[int, ...]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        context = TaskContext.get()
        assert context is not None
        if context.getLocalProperty("streaming.sql.batchId") == "1" and context.partitionId() == 1:
            self.go_off()
        yield from batches

    def go_off(self) -> None:
        if (self.folder / "dead").exists() or self.victim == "nobody":
            return
        (self.folder / f"here-{self.name}").touch()
        give_up_at = time.monotonic() + _MEET_LIMIT_S
        while len(list(self.folder.glob("here-*"))) < self.streams and time.monotonic() < give_up_at:
            time.sleep(0.05)
        time.sleep(2)
        (self.folder / "dead").touch()
        pids = self.drivers
        if self.victim == "executor":
            pids = (next(parent.pid for parent in psutil.Process().parents() if parent.name() == "java"),)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        time.sleep(_MEET_LIMIT_S)


def double(_: Any) -> Any:
    return lambda batch: batch["n"] * 2.0


def moody(_: Any) -> Any:
    """Fail on every third number or so, and on others each time that it is loaded anew."""
    mood = os.urandom(1)[0]

    def predict(batch: Mapping[str, Any]) -> Any:
        if ((batch["n"] + mood) % 3 == 0).any():
            raise ValueError("not today")
        return batch["n"] * 2.0

    return predict


def main(arguments: list[str]) -> None:
    servers, topic, folder, jars, victim, rows = arguments
    root = Path(folder)
    spark = tritium.session(
        "dgx-a100", workers=1, cores=6, memory_mib=1024, conf={"spark.jars": jars, **DELTA_CONF}
    )
    jvm: Any = spark.sparkContext._jvm
    drivers = (jvm.java.lang.ProcessHandle.current().pid(), os.getpid())
    options = {
        "kafka.bootstrap.servers": servers,
        "subscribe": topic,
        "startingOffsets": "earliest",
        "includeHeaders": "true",
        "maxOffsetsPerTrigger": rows,
    }
    messages = spark.readStream.format("kafka").options(**options).load().drop("timestampType")
    sinks: dict[str, Sink] = {
        "kafka": Kafka(servers=servers, topic=f"{topic}-out"),
        "delta": Delta(path=str(root / "delta")),
        "parquet": Parquet(path=str(root / "parquet")),
        "two tables": Delta(path=str(root / "rows")),
    }
    dead = Delta(path=str(root / "dead"))
    streams = [
        tritium.stream(
            messages.mapInArrow(Bomb(root, name, len(sinks), victim, drivers), messages.schema),
            model=moody if name == "two tables" else double,
            sink=sink,
            checkpoint=root / f"checkpoint-{name}",
            decode=Json(schema="n long not null"),
            on_error="quarantine" if name == "two tables" else "fail",
            dead_letters=dead if name == "two tables" else None,
            every_s=None,
        )
        for name, sink in sinks.items()
    ]
    for stream in streams:
        stream.wait(600)
    numbers = {}
    for name, kind in (("delta", "delta"), ("parquet", "parquet"), ("rows", "delta"), ("dead", "delta")):
        table = spark.read.format(kind).load(str(root / name))
        number = table.selectExpr("n" if name == "dead" else "prediction / 2")
        numbers[name] = [row[0] for row in number.collect()]
    print(json.dumps({"drained": numbers}), flush=True)
    sys.stdin.readline()
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
