"""Edge to Spark: how the rows of a DataFrame come to the tasks of a gang, the same in every attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritium.spark.scan import reading
from tritium.spark.splits import BySpark, Reading, dealt
from tritium.train.shard import ROW

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["rows_of"]


def rows_of(
    spark: SparkSession, data: DataFrame | None, ranks: int, *, splits: bool
) -> tuple[DataFrame, Reading | None]:
    """What Spark gives each task, and how its rank's rows come; ``None`` without data."""
    if data is None:
        return _one_row_each(spark, ranks), None
    how = dealt(reading(data), ranks) if splits else BySpark(why="splits=False")
    return _spread(data, ranks) if isinstance(how, BySpark) else _one_row_each(spark, ranks), how


def _spread(data: DataFrame, ranks: int) -> DataFrame:
    """Spread rows evenly, the same to each shard in every attempt, and say how they follow each other."""
    from pyspark.sql.functions import monotonically_increasing_id

    return data.withColumn(ROW, monotonically_increasing_id()).repartition(ranks)


def _one_row_each(spark: SparkSession, ranks: int) -> DataFrame:
    return spark.range(0, ranks, 1, ranks)
