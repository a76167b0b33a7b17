"""Edge to Spark's sinks: a table's rows, or messages that a consumer can tell from their copies.

A stream has one sink, which is Spark's own, or two of which each micro-batch is written to both.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritium.infer.micro_batch import told
from tritium.streams.decode import ERROR
from tritium.streams.ends import Delta, Kafka, Parquet, Sink
from tritium.streams.folders import on_disk, query_of
from tritium.streams.message import answers, letters

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["Both", "writer"]

_MARK = "mapreduce.fileoutputcommitter.marksuccessfuljobs"
_CUT = ("spark.sql.files.maxPartitionBytes", "spark.sql.files.openCostInBytes")
_WHOLE = str(1 << 50)
"""Bytes: more than any file has, and so much for opening one that no task takes a second."""


def writer(frame: DataFrame, sink: Sink, *, names: tuple[str, ...], checkpoint: Path) -> Any:
    """Set the writer of a stream with one sink up; ``names`` are the model's columns."""
    match sink:
        case Kafka():
            messages = answers(frame, _columns(sink, frame, names), checkpoint=checkpoint)
            return messages.writeStream.format("kafka").options(**_topic(sink))
        case Delta(path=path):
            return frame.writeStream.format("delta").option("path", path)
        case Parquet(path=path):
            return frame.writeStream.format("parquet").option("path", path)


@dataclass(frozen=True, kw_only=True)
class Both:
    """Writes one micro-batch (``foreachBatch``): rows with an error to one sink, the others to another."""

    rows: Sink
    dead: Sink
    names: tuple[str, ...]
    """The model's columns."""
    checkpoint: Path

    def __call__(self, frame: DataFrame, batch: int) -> None:
        """Predict once and write twice."""
        decided = self._decided(frame, batch)
        with _uncut(frame.sparkSession):
            self._write(decided.where(f"{ERROR} is null").drop(ERROR), self.rows, self.names, batch)
            bad = decided.where(f"{ERROR} is not null").drop(*self.names)
            if not bad.isEmpty():
                self._write(bad, self.dead, None, batch)

    def _decided(self, frame: DataFrame, batch: int) -> DataFrame:
        """Write down what came of each row before a sink gets any.

        A model may fail on a row once and not again. Predicted again between the two sinks, because an
        executor died with what it kept or the driver did, such a row could be in both of them, or in none.
        """
        query = query_of(self.checkpoint)
        folder = self.checkpoint.parent / "decided" / query / str(batch)
        if not (folder / "_SUCCESS").exists():
            with told(frame.sparkSession, query=query, batch=batch):
                frame.write.mode("overwrite").option(_MARK, "true").parquet(on_disk(folder))
        shutil.rmtree(folder.with_name(str(batch - 1)), ignore_errors=True)  # which both sinks have
        return frame.sparkSession.read.parquet(on_disk(folder))

    def _write(self, frame: DataFrame, sink: Sink, names: tuple[str, ...] | None, batch: int) -> None:
        """Write answers, or without ``names`` dead letters."""
        query = query_of(self.checkpoint)
        match sink:
            case Kafka():
                messages = (
                    letters(frame, checkpoint=self.checkpoint)
                    if names is None
                    else answers(frame, _columns(sink, frame, names), checkpoint=self.checkpoint)
                )
                messages.write.format("kafka").options(**_topic(sink)).save()
            case Delta(path=path):
                # The table remembers this, and takes no batch twice.
                once = frame.write.option("txnAppId", f"{query}-{'dead' if names is None else 'rows'}")
                once.format("delta").mode("append").option("txnVersion", batch).save(path)
            case Parquet(path=path):
                frame.write.mode("overwrite").parquet(f"{path}/batch={query}-{batch}")


@contextmanager
def _uncut(spark: SparkSession) -> Iterator[None]:
    """Let one task read each file, as one wrote it: several would mix up the order of a key's answers.

    The session is the query's own, in which nothing else is planned meanwhile.
    """
    before = {name: str(spark.conf.get(name)) for name in _CUT}
    for name in before:
        spark.conf.set(name, _WHOLE)
    try:
        yield
    finally:
        for name, value in before.items():
            spark.conf.set(name, value)


def _topic(sink: Kafka) -> dict[str, str]:
    return {"kafka.bootstrap.servers": sink.servers, "topic": sink.topic, **sink.options}


def _columns(sink: Kafka, frame: DataFrame, names: tuple[str, ...]) -> tuple[str, ...]:
    """Name what goes into an answer; where errors go elsewhere, the frame has none."""
    return (*(sink.columns or names), *((ERROR,) if ERROR in frame.columns else ()))
