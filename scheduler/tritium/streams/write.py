"""Edge to Spark's sinks: a table's rows, or messages that a consumer can tell from their copies.

A stream has one sink, which is Spark's own, or two of which each micro-batch is written to both.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritium.errors import BadSpec
from tritium.infer.micro_batch import told
from tritium.streams.decode import ERROR
from tritium.streams.ends import ID_HEADER, Delta, Kafka, Parquet, Sink

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

__all__ = ["Both", "refuse", "writer"]

_MARK = "mapreduce.fileoutputcommitter.marksuccessfuljobs"
_ORIGIN = ("topic", "partition", "offset")


def writer(frame: DataFrame, sink: Sink, *, answers: tuple[str, ...]) -> Any:
    """Set the writer of a stream with one sink up."""
    match sink:
        case Kafka():
            messages = _messages(frame, sink, answers)
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
    answers: tuple[str, ...]
    checkpoint: Path

    def __call__(self, frame: DataFrame, batch: int) -> None:
        """Predict once and write twice."""
        decided = self._decided(frame, batch)
        self._write(decided.where(f"{ERROR} is null").drop(ERROR), self.rows, self.answers, batch)
        bad = decided.where(f"{ERROR} is not null").drop(*self.answers)
        if not bad.isEmpty():
            self._write(bad, self.dead, None, batch)

    def _decided(self, frame: DataFrame, batch: int) -> DataFrame:
        """Write down what came of each row before a sink gets any.

        A model may fail on a row once and not again. Predicted again between the two sinks, because an
        executor died with what it kept or the driver did, such a row could be in both of them, or in none.
        """
        query = self._query()
        folder = self.checkpoint.parent / "decided" / query / str(batch)
        if not (folder / "_SUCCESS").exists():
            with told(frame.sparkSession, query=query, batch=batch):
                frame.write.mode("overwrite").option(_MARK, "true").parquet(str(folder))
        shutil.rmtree(folder.with_name(str(batch - 1)), ignore_errors=True)  # which both sinks have
        return frame.sparkSession.read.parquet(str(folder))

    def _query(self) -> str:
        """The query's id, which is its checkpoint's: another checkpoint counts batches anew."""
        return str(json.loads((self.checkpoint / "metadata").read_text(encoding="utf-8"))["id"])

    def _write(self, frame: DataFrame, sink: Sink, answers: tuple[str, ...] | None, batch: int) -> None:
        query = self._query()
        match sink:
            case Kafka():
                _messages(frame, sink, answers).write.format("kafka").options(**_topic(sink)).save()
            case Delta(path=path):
                # The table remembers this, and takes no batch twice.
                once = frame.write.option("txnAppId", f"{query}-{'dead' if answers is None else 'rows'}")
                once.format("delta").mode("append").option("txnVersion", batch).save(path)
            case Parquet(path=path):
                frame.write.mode("overwrite").parquet(f"{path}/batch={query}-{batch}")


def _topic(sink: Kafka) -> dict[str, str]:
    return {"kafka.bootstrap.servers": sink.servers, "topic": sink.topic, **sink.options}


def refuse(frame: DataFrame, sink: Sink, dead: Sink | None) -> None:
    """Refuse a topic for rows that come from none, and a folder whose log would hide what is written to it.

    Raises:
        BadSpec: so it is.
    """
    of_kafka = {"key", "headers", *_ORIGIN} <= set(frame.columns)
    if not of_kafka and (isinstance(sink, Kafka) or isinstance(dead, Kafka)):
        raise BadSpec("stream", ["sink: rows for Kafka must come from Kafka, with their key and headers"])
    for one in (sink, dead) if dead is not None else ():
        if isinstance(one, Parquet) and Path(one.path, "_spark_metadata").exists():
            raise BadSpec(
                "stream",
                [f"sink: {one.path} was written by a stream without dead_letters; take another folder"],
            )


def _messages(frame: DataFrame, sink: Kafka, answers: tuple[str, ...] | None) -> DataFrame:
    """Make messages: key and headers of the row, a JSON object, and the same id for each copy of it.

    Without ``answers`` they are dead letters, with the value that they had.
    """
    from pyspark.sql import functions as sql

    marks = {ID_HEADER: sql.concat_ws("/", *_ORIGIN)}
    if answers is None:
        value = sql.col("value")
        marks["tritium-error"] = sql.col(f"{ERROR}.message")
    else:
        names = [*(sink.columns or answers), *([ERROR] if ERROR in frame.columns else [])]
        value = sql.to_json(sql.struct(*dict.fromkeys(names)))
    others = sql.filter("headers", lambda header: ~header["key"].isin(*marks))
    ours = sql.array(*(_header(name, text) for name, text in marks.items()))
    headers = sql.when(sql.col("headers").isNull(), ours).otherwise(sql.concat(others, ours))
    return frame.select("key", value.alias("value"), headers.alias("headers"))


def _header(name: str, text: Column) -> Column:
    from pyspark.sql import functions as sql

    return sql.struct(sql.lit(name).alias("key"), text.cast("binary").alias("value"))
