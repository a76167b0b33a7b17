"""A client program for tests: from a topic through a model into two tables, on a Connect session.

``stream_client.py SERVERS TOPIC FOLDER``; it says what happened as one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

import tritium
from tritium.errors import TritiumError
from tritium.infer import runs
from tritium.streams import Delta, Json, KafkaSource, Parquet, Sink

_LIMIT_S = 300.0


def main(servers: str, topic: str, folder: Path) -> dict[str, Any]:
    spark = SparkSession.builder.remote(os.environ["SPARK_REMOTE"]).getOrCreate()
    source = KafkaSource(servers=servers, topic=topic, rows_per_batch=20)

    def load(_: Any) -> Any:
        return lambda batch: batch["n"] * 2.0

    def fails(_: Any) -> Any:
        def predict(_: Mapping[str, Any]) -> Any:
            raise ValueError("no such number")

        return predict

    def drained(name: str, sink: Sink, model: Any, dead_letters: Sink | None = None) -> Any:
        with tritium.stream(
            source,
            model=model,
            sink=sink,
            checkpoint=folder / f"checkpoint-{name}",
            decode=Json(schema="n long not null"),
            dead_letters=dead_letters,
            every_s=None,
            report=folder / f"report-{name}",
        ) as stream:
            stream.wait(_LIMIT_S)
            return stream.progress()

    sinks: dict[str, Delta | Parquet] = {
        "parquet": Parquet(path=str(folder / "p")),
        "delta": Delta(path=str(folder / "d")),
    }
    found: dict[str, Any] = {}
    for name, sink in sinks.items():
        progress = drained(name, sink, load)
        rows = spark.read.format(name).load(sink.path).collect()
        found[name] = {
            "answers": sorted(row.prediction for row in rows if row.error is None),
            "errors": [row.error.message for row in rows if row.error is not None],
            "batches": progress.batch + 1,
        }
    both = Delta(path=str(folder / "rows")), Delta(path=str(folder / "dead"))
    drained("both", both[0], load, both[1])
    found["reported"] = {
        name: [run.batch for run in runs(folder / f"report-{name}")] for name in (*sinks, "both")
    }
    found["both"] = [spark.read.format("delta").load(sink.path).count() for sink in both]
    try:
        drained("fails", Parquet(path=str(folder / "f")), fails)
    except TritiumError as err:
        found["failed"] = [type(err).__name__, str(err)]
    return found


if __name__ == "__main__":
    print(json.dumps({"found": main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))}), flush=True)
    sys.stdin.readline()
