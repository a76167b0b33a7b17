"""Rig: Java libraries from Maven Central, fetched once by the Ivy that comes with Spark."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pyspark

from tritium.spark.java import find_java

__all__ = ["DELTA", "DELTA_CONF", "KAFKA", "KAFKA_BROKER", "fetch", "for_spark"]

KAFKA = "org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0"
DELTA = "io.delta:delta-spark_4.2_2.13:4.4.0"
KAFKA_BROKER = "org.apache.kafka:kafka_2.13:4.1.0"
DELTA_CONF = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.sql.shuffle.partitions": "2",
}
_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "tritium", "jars")
_LIMIT_S = 600.0
_NEEDED = ("delta-", "unitycatalog-", "kafka-clients-", "spark-sql-kafka-", "spark-token-", "commons-pool2-")
"""What Spark itself does not bring, of all that its connectors name."""


def fetch(coordinate: str) -> Path:
    """Return the folder of a library's jars with all that it needs; from the cache after the first time."""
    folder = _CACHE / hashlib.sha256(coordinate.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "whole").exists():
            _retrieve(coordinate, folder)
            (folder / "whole").touch()
    return folder / "jars"


def for_spark(*coordinates: str) -> str:
    """Return the value of ``spark.jars`` for connectors."""
    jars = {path.name: path for name in coordinates for path in fetch(name).glob("*.jar")}
    return ",".join(str(path) for name, path in sorted(jars.items()) if name.startswith(_NEEDED))


def _retrieve(coordinate: str, folder: Path) -> None:
    (ivy,) = Path(pyspark.__file__).parent.glob("jars/ivy-*.jar")
    command: Sequence[str | Path] = [
        find_java(os.environ) / "bin" / "java",
        "-jar",
        ivy,
        "-cache",
        folder / "ivy",
        "-confs",
        "default",
        "-dependency",
        *coordinate.split(":"),
        "-retrieve",
        folder / "jars" / "[artifact]-[revision](-[classifier]).[ext]",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
