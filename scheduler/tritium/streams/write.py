"""Edge to Spark's sinks: a table's rows, or messages that a consumer can tell from their copies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tritium.errors import BadSpec
from tritium.streams.decode import ERROR
from tritium.streams.ends import ID_HEADER, Delta, Kafka, Parquet, Sink

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

__all__ = ["writer"]

_ORIGIN = ("topic", "partition", "offset")


def writer(frame: DataFrame, sink: Sink, *, answers: tuple[str, ...] | None) -> Any:
    """Set a writer up; without ``answers`` the messages are dead letters."""
    match sink:
        case Kafka():
            messages = _messages(frame, sink, answers)
            options = {"kafka.bootstrap.servers": sink.servers, "topic": sink.topic, **sink.options}
            return messages.writeStream.format("kafka").options(**options)
        case Delta(path=path):
            return frame.writeStream.format("delta").option("path", path)
        case Parquet(path=path):
            return frame.writeStream.format("parquet").option("path", path)


def _messages(frame: DataFrame, sink: Kafka, answers: tuple[str, ...] | None) -> DataFrame:
    """Make messages: key and headers of the row, a JSON object, and the same id for each copy of it."""
    from pyspark.sql import functions as sql

    if not {"key", "headers", *_ORIGIN} <= set(frame.columns):
        raise BadSpec("stream", ["sink: rows for Kafka must come from Kafka, with their key and headers"])
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
