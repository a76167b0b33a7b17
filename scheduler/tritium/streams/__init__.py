"""Streams: rows come from Kafka or any streaming DataFrame, go through a model, and land in a sink."""

from tritium.streams.ends import Bytes, Delta, Json, Kafka, KafkaSource, Parquet, Sink, guarantee
from tritium.streams.run import Stream, stream
from tritium.streams.versions import Versions

__all__ = [
    "Bytes",
    "Delta",
    "Json",
    "Kafka",
    "KafkaSource",
    "Parquet",
    "Sink",
    "Stream",
    "Versions",
    "guarantee",
    "stream",
]
