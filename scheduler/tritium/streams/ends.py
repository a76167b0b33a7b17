"""Where a stream begins and ends, how its payload is decoded, and what each sink guarantees: frozen types."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

__all__ = [
    "ID_HEADER",
    "ORIGIN",
    "Bytes",
    "Decode",
    "Delta",
    "Json",
    "Kafka",
    "KafkaSource",
    "Parquet",
    "Sink",
    "guarantee",
]

ID_HEADER = "tritium-id"
"""The Kafka header that is the same for each copy of a message, through all streams that it passes: where it
comes from, and a mark of each stream, which the path of its checkpoint stands for. Whatever makes several
messages of one between two streams must not keep it."""
ORIGIN = ("topic", "partition", "offset")
"""The columns that say which message of Kafka's a row comes from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSource:
    """A topic to read. Its rows have ``key, value, headers, topic, partition, offset, timestamp``."""

    servers: str
    """E.g. ``broker-1:9092,broker-2:9092``."""
    topic: str
    starting: Literal["earliest", "latest"] = "earliest"
    """Where a stream without a checkpoint begins."""
    rows_per_batch: int | None = None
    """Limit for one micro-batch (``maxOffsetsPerTrigger``)."""
    options: Mapping[str, str] = field(default_factory=dict)
    """More options of Spark's Kafka source, e.g. ``kafka.security.protocol``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Json:
    """``value`` is a JSON object."""

    schema: str
    """Its fields in Spark's DDL; ``NOT NULL`` ones must be there: ``id long, x array<float> NOT NULL``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytes:
    """``value`` is what the model gets: as ``bytes``, or as the tensor whose memory it is."""

    dtype: str | None = None
    """Type of the elements, e.g. ``float32``, little endian; ``None``: not a tensor."""
    shape: tuple[int, ...] = ()
    """Shape of one row."""

    @property
    def elements(self) -> int:
        """Elements of one row.

        >>> Bytes(dtype="float32", shape=(28, 28)).elements
        784
        """
        return math.prod(self.shape)


Decode: TypeAlias = Json | Bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Kafka:
    """A topic to write: key and headers stay, the value is a JSON object.

    It has all columns, null where there is nothing; NaN and infinities are strings, as Spark writes and reads
    them. A message without a value is answered too, with its error. As a dead letter it keeps having none:
    a topic of dead letters must not be compacted, which keeps but the last one of a key anyway.
    """

    servers: str
    topic: str
    columns: tuple[str, ...] | None = None
    """What goes into the object; ``None``: the model's columns, and ``error``."""
    options: Mapping[str, str] = field(default_factory=dict)
    """More options of Spark's Kafka sink."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A Delta table to append to."""

    path: str
    """As Spark takes it: one without a scheme is on ``fs.defaultFS``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parquet:
    """A folder of Parquet files; read it with Spark, which heeds its ``_spark_metadata``.

    Without dead letters it belongs to one stream with one checkpoint, from its start on: an empty file in it,
    ``_tritium-`` and the query's id, says to which.
    """

    path: str
    """As Spark takes it: one without a scheme is on ``fs.defaultFS``."""


Sink: TypeAlias = Kafka | Delta | Parquet


def guarantee(sink: Sink, dead_letters: Sink | None = None) -> str:
    """Say how often a row may be in its sink after drivers and executors were killed.

    >>> guarantee(Delta(path="out"))
    'exactly once: a batch is one transaction, and the table remembers which batches it has'
    >>> guarantee(Delta(path="out"), Delta(path="dead")).partition("; ")[2]
    'each message is in one of the two: in which is written down before either gets it'
    """
    if dead_letters is not None:
        own = {f"{_name(one)} {_often(one, beside=True)}": None for one in (sink, dead_letters)}
        one_of = "each message is in one of the two: in which is written down before either gets it"
        return "; ".join((*own, one_of))
    return _often(sink, beside=False)


def _name(sink: Sink) -> str:
    return type(sink).__name__


def _often(sink: Sink, *, beside: bool) -> str:
    match sink:
        case Kafka():
            return f"at least once: copies of a message carry the same header {ID_HEADER}"
        case Delta():
            return "exactly once: a batch is one transaction, and the table remembers which batches it has"
        case Parquet() if beside:
            return "exactly once: a batch is one folder, which it writes anew if it is repeated"
        case Parquet():
            return "exactly once for Spark's reader: a log in the folder names the files of whole batches"
