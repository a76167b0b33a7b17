"""A session is a cluster on this machine, and its executors own exact devices."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from pyspark import cloudpickle
from pyspark.sql import SparkSession

import tritium
from tritium.errors import SparkFailed
from tritium.spark.profile import resource_profile
from tritium_discovery import claims

pytestmark = pytest.mark.spark
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def look(batches: Any) -> Any:
    """One row per task: what Spark granted it, and what its executor owns."""
    import pyarrow as pa
    from pyspark import TaskContext

    from tritium.spark.inventory import task_view

    list(batches)
    context = TaskContext.get()
    assert context is not None
    granted = context.resources().get("gpu")
    addresses = None if granted is None else tuple(granted.addresses)
    view = task_view(addresses, environ=os.environ)
    yield pa.RecordBatch.from_pydict(
        {"executor": [view.pool_name], "pool": [list(view.pool)], "count": pa.array([view.count], pa.int32())}
    )


def looks(spark: SparkSession, *, tasks: int, gpus: int) -> list[Any]:
    rows = spark.range(0, tasks, 1, tasks)
    schema = "executor string, pool array<string>, count int"
    return rows.mapInArrow(look, schema, profile=resource_profile(spark, gpus=gpus)).collect()


def claimed(state: Path) -> list[str]:
    return sorted(device.uuid for claim in claims.live(state) for device in claim.devices)


def test_executors_own_all_devices_and_none_twice(spark: SparkSession, state: Path) -> None:
    pools = {row.executor: row.pool for row in looks(spark, tasks=8, gpus=0)}

    assert sorted(pools) == ["executor 0", "executor 1"]
    assert [len(pool) for pool in pools.values()] == [4, 4]
    assert sorted(pools["executor 0"] + pools["executor 1"]) == claimed(state)
    assert len(set(claimed(state))) == 8


def test_a_stage_gets_the_devices_that_its_profile_asks_for_and_none_by_default(spark: SparkSession) -> None:
    assert {row["count"] for row in looks(spark, tasks=4, gpus=0)} == {None}
    assert {row["count"] for row in looks(spark, tasks=4, gpus=2)} == {2}


def test_stages_without_devices_are_not_throttled_by_them(spark: SparkSession) -> None:
    assert spark.sparkContext.defaultParallelism == 8
    assert spark.conf.get("spark.task.resource.gpu.amount", None) is None


def test_a_second_session_is_refused_while_one_runs(spark: SparkSession) -> None:
    assert spark.version

    with pytest.raises(SparkFailed, match="already runs in this process"):
        tritium.session("dgx-a100")
