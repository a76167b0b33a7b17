"""What tests of the split reader share: pieces of a file, and a scan read as tasks do and as Spark does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyspark import cloudpickle
from pyspark.sql import DataFrame
from pyspark.sql.types import StringType, StructField, StructType

from tritium.spark.footers import footer
from tritium.spark.scan import reading
from tritium.spark.splits import Piece, Splits
from tritium.spark.splits_read import map_rows

__all__ = ["assert_same", "pieces_of"]

cloudpickle.register_pickle_by_value(sys.modules[__name__])


def with_types(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        kinds = "; ".join(f"{field.name} {field.type}" for field in batch.schema)
        said = pa.repeat(pa.scalar(kinds), batch.num_rows)
        yield pa.RecordBatch.from_arrays([*batch.columns, said], names=[*batch.schema.names, "types"])


def pieces_of(path: Path) -> list[Piece]:
    """All row groups of a file, as they are now."""
    told = footer(str(path))
    return [
        Piece(path=str(path), mark=told.mark, group=at, rows=group.rows, stored_bytes=1, values=())
        for at, group in enumerate(told.groups)
    ]


def assert_same(df: DataFrame) -> Splits:
    """Read a plain scan both ways."""
    how = reading(df)
    assert isinstance(how, Splits), how.sentence

    schema = StructType([*df.schema.fields, StructField("types", StringType())])
    mine = map_rows(df, with_types, schema, reading=how).collect()
    assert mine == df.mapInArrow(with_types, schema).collect()
    assert len(mine) == sum(piece.rows for task in how.tasks for piece in task)
    return how
