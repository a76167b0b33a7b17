"""Tasks read the files of a Delta table only where these are what the table says."""

from __future__ import annotations

from pathlib import Path

import pytest

from rigs.cluster import local
from rigs.jars import DELTA, DELTA_CONF, for_spark
from spark.both_ways import assert_same
from tritium.spark.scan import reading
from tritium.spark.splits import BySpark

pytestmark = [pytest.mark.delta, pytest.mark.timeout(900)]


def test_delta_tables_are_read_where_a_file_is_what_the_table_says(tmp_path: Path) -> None:
    with local(2, machine="two-t4", conf={"spark.jars": for_spark(DELTA), **DELTA_CONF}) as spark:
        rows = spark.range(300).selectExpr("id % 3 as k", "id", "array(cast(id as float)) x")
        plain, deleted, mapped = (str(tmp_path / name) for name in ("plain", "deleted", "mapped"))
        rows.write.format("delta").partitionBy("k").save(plain)
        rows.write.format("delta").option("delta.enableDeletionVectors", "true").save(deleted)
        rows.write.format("delta").option("delta.columnMapping.mode", "name").save(mapped)

        how = assert_same(spark.read.format("delta").load(plain))
        assert_same(spark.read.format("delta").load(plain).where("k = 1").select("x"))
        assert_same(spark.read.format("delta").load(deleted))
        spark.sql(f"delete from delta.`{plain}` where k = 0")  # noqa: S608  a path of our own
        spark.sql(f"delete from delta.`{deleted}` where id = 7")  # noqa: S608  as above

        assert sum(piece.rows for task in how.tasks for piece in task) == 300
        again = assert_same(spark.read.format("delta").load(plain))
        assert sum(piece.rows for task in again.tasks for piece in task) == 200
        old = assert_same(spark.read.format("delta").option("versionAsOf", 0).load(plain))
        assert sum(piece.rows for task in old.tasks for piece in task) == 300
        tensors = str(tmp_path / "tensors")
        spark.range(300).selectExpr("array(id / 3, id / 7) x").write.format("delta").save(tensors)
        told = assert_same(spark.read.format("delta").load(tensors)).sentence
        assert told.endswith("x is copied from its pages while its lists are equally long")
        holed = reading(spark.read.format("delta").load(deleted))
        assert isinstance(holed, BySpark)
        assert "filters rows" in holed.why
        renamed = reading(spark.read.format("delta").load(mapped))
        assert renamed == BySpark(why="the Delta table maps its columns by name")
