"""Edge to Spark's sources: the rows of a topic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tritium.errors import BadSpec
from tritium.streams.ends import KafkaSource
from tritium.train.job import active_session

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["rows_of"]


def rows_of(source: KafkaSource | DataFrame) -> DataFrame:
    """Return the stream of a source.

    Raises:
        BadSpec: it is a batch, or Spark has no Kafka connector.
    """
    if not isinstance(source, KafkaSource):
        if not source.isStreaming:
            raise BadSpec("stream", ["source: it is no streaming DataFrame; use predict for a batch"])
        return source
    options = {
        "kafka.bootstrap.servers": source.servers,
        "subscribe": source.topic,
        "startingOffsets": source.starting,
        "includeHeaders": "true",
        **({"maxOffsetsPerTrigger": str(source.rows_per_batch)} if source.rows_per_batch else {}),
        **source.options,
    }
    return _kafka_read(active_session(), options).drop("timestampType")


def _kafka_read(spark: SparkSession, options: Mapping[str, str]) -> DataFrame:
    from pyspark.errors import AnalysisException

    try:
        return spark.readStream.format("kafka").options(**options).load()
    except AnalysisException as err:
        if "kafka" not in str(err):
            raise
        package = f"org.apache.spark:spark-sql-kafka-0-10_2.13:{spark.version}"
        raise BadSpec(
            "stream", [f"source: Spark has no Kafka connector; set spark.jars.packages={package}"]
        ) from err
