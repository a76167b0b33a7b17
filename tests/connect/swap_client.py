"""A client program for tests: from topic to topic through a model that changes, on a Connect session.

``swap_client.py SERVERS TOPIC FOLDER``; it says what was added to which number as one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

import tritium
from tritium.streams import Json, Kafka, KafkaSource, Versions

_LIMIT_S = 300.0


def add(_: Any, path: Path) -> Any:
    plus = float((path / "plus").read_text())
    return lambda batch: batch["n"] + plus


def sane(path: Path) -> bool:
    return float((path / "plus").read_text()) < 1000


def until(true: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + _LIMIT_S
    while not true():
        assert time.monotonic() < give_up_at
        time.sleep(0.2)


def publish(versions: Versions, plus: float) -> str:
    files = versions.state.with_name(f"plus-{plus}")
    files.mkdir()
    (files / "plus").write_text(str(plus))
    return versions.publish(files)


def main(servers: str, topic: str, folder: Path) -> dict[str, Any]:
    spark = SparkSession.builder.remote(os.environ["SPARK_REMOTE"]).getOrCreate()
    kafka = {"kafka.bootstrap.servers": servers}
    versions = Versions(store=folder / "store", state=folder / "state")
    publish(versions, 100)

    def found() -> list[tuple[int, float]]:
        rows = spark.read.format("kafka").options(**kafka, subscribe=f"{topic}-out").load().collect()
        values = [json.loads(row.value) for row in rows]
        return sorted((value["n"], value["prediction"] - value["n"]) for value in values)

    def answered(first: int, last: int) -> None:
        numbers = spark.range(first, last).selectExpr("to_json(struct(id as n)) as value")
        numbers.write.format("kafka").options(**kafka, topic=topic).save()
        until(lambda: len(found()) == last)

    with tritium.stream(
        KafkaSource(servers=servers, topic=topic),
        model=add,
        sink=Kafka(servers=servers, topic=f"{topic}-out", columns=("n", "prediction")),
        checkpoint=folder / "checkpoint",
        decode=Json(schema="n long not null"),
        versions=versions,
        check=sane,
        every_s=0.2,
    ) as stream:
        answered(0, 5)
        good = publish(versions, 200)
        until(lambda: versions.serving() == good)
        answered(5, 10)
        publish(versions, 9000)
        until(lambda: stream.rejected)
        answered(10, 15)
        return {"added": found(), "rejected": stream.rejected, "back": versions.wanted() == good}


if __name__ == "__main__":
    print(json.dumps({"found": main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))}), flush=True)
    sys.stdin.readline()
