"""Decides what messages a topic gets, as Spark expressions: answers and dead letters, each with its id."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tritium.streams.decode import ERROR
from tritium.streams.ends import ID_HEADER, ORIGIN

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

__all__ = ["answers", "letters"]

_WHY_HEADER = "tritium-error"


def answers(frame: DataFrame, columns: Sequence[str], *, checkpoint: Path) -> DataFrame:
    """Make messages whose value is a JSON object of columns, with a null where there is nothing."""
    from pyspark.sql import functions as sql

    value = sql.to_json(sql.struct(*dict.fromkeys(columns)), {"ignoreNullFields": "false"})
    return _messages(frame, value, {ID_HEADER: _id(checkpoint)})


def letters(frame: DataFrame, *, checkpoint: Path) -> DataFrame:
    """Make messages with the value that they had, be it null, and what was wrong with it in a header."""
    from pyspark.sql import functions as sql

    marks = {ID_HEADER: _id(checkpoint), _WHY_HEADER: sql.col(f"{ERROR}.message")}
    return _messages(frame, sql.col("value"), marks)


def _messages(frame: DataFrame, value: Column, marks: Mapping[str, Column]) -> DataFrame:
    """Key and headers stay, but for ours, e.g. those of a dead letter that was sent again."""
    from pyspark.sql import functions as sql

    others = sql.filter("headers", lambda header: ~header["key"].isin(ID_HEADER, _WHY_HEADER))
    ours = sql.array(*(_header(name, text) for name, text in marks.items()))
    headers = sql.when(sql.col("headers").isNull(), ours).otherwise(sql.concat(others, ours))
    return frame.select("key", value.alias("value"), headers.alias("headers"))


def _id(checkpoint: Path) -> Column:
    """Where the message comes from, and a mark of each stream that it came through.

    It is made of the id that a stream before gave it: copies that this one reads stay copies of each other.
    """
    from pyspark.sql import functions as sql

    mark = hashlib.sha256(str(checkpoint).encode()).hexdigest()[:8]
    theirs = sql.get(sql.filter("headers", lambda header: header["key"] == ID_HEADER), sql.lit(0))["value"]
    origin = sql.coalesce(theirs.cast("string"), sql.concat_ws("/", *ORIGIN))
    return sql.concat_ws("/", origin, sql.lit(mark))


def _header(name: str, text: Column) -> Column:
    from pyspark.sql import functions as sql

    return sql.struct(sql.lit(name).alias("key"), text.cast("binary").alias("value"))
