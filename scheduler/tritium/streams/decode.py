"""Decides how a message's value becomes columns, as Spark expressions: what does not decode says why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritium.errors import BadSpec
from tritium.streams.ends import Bytes, Decode, Json

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import StructType

__all__ = ["ERROR", "decoded", "inputs"]

ERROR = "error"
"""The column that says what was wrong with a row: ``struct<step,type,message>``, null if nothing was."""
_RAW = "_undecoded"


def inputs(decode: Decode | None, columns: list[str]) -> tuple[str, ...]:
    """Name the columns that the model gets."""
    match decode:
        case Json():
            return tuple(_fields(decode).names)
        case Bytes():
            return ("value",)
        case None:
            return tuple(columns)


def decoded(rows: DataFrame, decode: Decode | None) -> DataFrame:
    """Add what is in ``value`` as columns, and `ERROR`.

    Raises:
        BadSpec: there is no ``value``, or the schema is none or names a column that the rows have already.
    """
    from pyspark.sql import functions as sql

    if ERROR in rows.columns or ERROR in inputs(decode, []):
        raise BadSpec("stream", [f"source: a column is named {ERROR}, as that for what is wrong with a row"])
    if decode is not None and "value" not in rows.columns:
        there = ", ".join(rows.columns)
        raise BadSpec("stream", [f"source: it has no column value to decode; there are {there}"])
    match decode:
        case Json():
            return _from_json(rows, _fields(decode))
        case Bytes(dtype=dtype) if dtype is not None:
            return rows.withColumn(ERROR, _error(_wrong_length(decode)))
        case Bytes():
            missing = sql.when(sql.col("value").isNull(), sql.lit("the value is null"))
            return rows.withColumn(ERROR, _error(missing))
        case None:
            return rows.withColumn(ERROR, _error(sql.lit(None).cast("string")))


def _fields(decode: Json) -> StructType:
    from pyspark.errors import PySparkException
    from pyspark.sql.types import StructType

    try:
        fields = StructType.fromDDL(decode.schema)
    except PySparkException as err:
        first = str(err).strip().partition("\n")[0]
        raise BadSpec("stream", [f"decode.schema: {decode.schema!r} declares no columns: {first}"]) from err
    if not isinstance(fields, StructType):
        raise BadSpec("stream", [f"decode.schema: {decode.schema!r} is a type without a name"])
    if not fields.fields:
        raise BadSpec("stream", [f"decode.schema: {decode.schema!r} declares no columns"])
    return fields


def _from_json(rows: DataFrame, fields: StructType) -> DataFrame:
    from pyspark.sql import functions as sql
    from pyspark.sql.types import StringType, StructField, StructType

    if twice := [name for name in fields.names if name in rows.columns]:
        raise BadSpec("stream", [f"decode.schema: the rows have a column {name} already" for name in twice])
    # Spark ignores NOT NULL in JSON, so what must be there is looked for below.
    wanted = StructType(
        [
            *(StructField(field.name, field.dataType) for field in fields.fields),
            StructField(_RAW, StringType()),
        ]
    )
    text = sql.col("value").cast("string")
    parsed = rows.withColumn(
        "_parsed", sql.from_json(text, wanted, {"columnNameOfCorruptRecord": _RAW, "mode": "PERMISSIVE"})
    )
    value = sql.col("_parsed")
    wrong = (
        sql.when(sql.col("value").isNull(), sql.lit("the value is null"))
        .when(value.isNull() | value[_RAW].isNotNull(), sql.lit("the value is no JSON object of the schema"))
        # from_json reads one object, and not what follows it.
        .when(
            ~sql.json_array_length(sql.concat(sql.lit("["), text, sql.lit("]"))).eqNullSafe(1),
            sql.lit("something follows the value's JSON object; send one object a message"),
        )
    )
    for field in fields.fields:
        if not field.nullable:
            wrong = wrong.when(value[field.name].isNull(), sql.lit(f"{field.name} is missing"))
    columns = [value[name].alias(name) for name in fields.names]
    return parsed.select(*rows.columns, *columns, _error(wrong).alias(ERROR))


def _wrong_length(decode: Bytes) -> Column:
    import numpy as np
    from pyspark.sql import functions as sql

    try:
        wanted = decode.elements * np.dtype(decode.dtype).itemsize
    except TypeError as err:
        raise BadSpec("stream", [f"decode.dtype: numpy knows no {decode.dtype!r}"]) from err
    found = sql.octet_length("value")
    return sql.when(found.isNull(), sql.lit("the value is null")).when(
        found != wanted, sql.concat(found.cast("string"), sql.lit(f" bytes, {wanted} expected"))
    )


def _error(message: Column) -> Column:
    from pyspark.sql import functions as sql

    said = sql.struct(
        sql.lit("decode").alias("step"), sql.lit("BadValue").alias("type"), message.alias("message")
    )
    return sql.when(message.isNotNull(), said)
