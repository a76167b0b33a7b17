"""What tests of the split reader share: read a plain scan as tasks do and as Spark does."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pyarrow as pa
from pyspark import cloudpickle
from pyspark.sql import DataFrame
from pyspark.sql.types import StringType, StructField, StructType

from tritium.spark.scan import reading
from tritium.spark.splits import Splits
from tritium.spark.splits_read import map_rows

__all__ = ["assert_same"]

cloudpickle.register_pickle_by_value(sys.modules[__name__])


def with_types(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        kinds = "; ".join(f"{field.name} {field.type}" for field in batch.schema)
        said = pa.repeat(pa.scalar(kinds), batch.num_rows)
        yield pa.RecordBatch.from_arrays([*batch.columns, said], names=[*batch.schema.names, "types"])


def assert_same(df: DataFrame) -> Splits:
    """Read a plain scan both ways."""
    how = reading(df)
    assert isinstance(how, Splits), how.sentence

    schema = StructType([*df.schema.fields, StructField("types", StringType())])
    mine = map_rows(df, with_types, schema, reading=how).collect()
    assert mine == df.mapInArrow(with_types, schema).collect()
    assert len(mine) == sum(piece.rows for task in how.tasks for piece in task)
    return how
