"""A driver program for a test: one topic into a table and a topic of dead letters, which may not be there.

``killed_between.py SERVERS TOPIC FOLDER JARS DEAD``: who kills it once the table has its rows, while the
servers DEAD do not answer, has hit it between the two. It says ``drained`` with the table's rows at its end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyspark import cloudpickle

import tritium
from rigs.jars import DELTA_CONF
from streams.messages import drain
from tritium.streams import Delta, Json, Kafka, KafkaSource

cloudpickle.register_pickle_by_value(sys.modules[__name__])


def fickle(good: Path) -> Any:
    """A model that fails on two until the table is there, and on three from then on."""

    def load(_: Any) -> Any:
        def predict(batch: Mapping[str, Any]) -> Any:
            if (3 if (good / "_delta_log").exists() else 2) in batch["n"]:
                raise ValueError("not today")
            return batch["n"] * 2.0

        return predict

    return load


def main(arguments: list[str]) -> None:
    servers, topic, folder, jars, dead = arguments
    good = Path(folder) / "good"
    spark = tritium.session("one-gpu", workers=1, memory_mib=1024, conf={"spark.jars": jars, **DELTA_CONF})
    drain(
        KafkaSource(servers=servers, topic=topic),
        Delta(path=str(good)),
        Path(folder) / "checkpoint",
        model=fickle(good),
        decode=Json(schema="n long not null"),
        on_error="quarantine",
        dead_letters=Kafka(servers=dead, topic=f"{topic}-dead"),
    )
    rows = spark.read.format("delta").load(str(good)).collect()
    print(json.dumps({"drained": sorted(row.n for row in rows)}), flush=True)
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
