"""Executors that come and go with the load: an idle owner holds none of them back, and ends with its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pyspark.sql import SparkSession

import tritium
from rigs.cluster import cluster
from rigs.owners import by_value
from rigs.processes import assert_gone, eventually
from tritium.infer import TaskReport, read_reports
from tritium_discovery import holds

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]
by_value(__name__)
_GONE_LIMIT_S = 90


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    """Workers without an executor, until somebody needs one; it goes when it was idle for some seconds."""
    dynamic = "spark.dynamicAllocation"
    conf = {
        f"{dynamic}.enabled": "true",
        f"{dynamic}.shuffleTracking.enabled": "true",
        f"{dynamic}.executorIdleTimeout": "8s",
        f"{dynamic}.maxExecutors": "1",
        "spark.scheduler.minRegisteredResourcesRatio": "0",
    }
    with cluster(workers=1, conf=conf) as session:
        yield session


def double(_: Any) -> Any:
    return lambda batch: batch["id"] * 2.0


def predicted(spark: SparkSession, folder: Path) -> TaskReport:
    """Predict, with an owner that is to stay for long; returns what the only task says."""
    out = tritium.predict(spark.range(0, 8, 1, 1), model=double, report=folder, keep_s=3600)
    assert [row.prediction for row in out.collect()] == [2.0 * n for n in range(8)]
    (report,) = read_reports(folder)
    return report


def executors(spark: SparkSession) -> int:
    return int(spark.sparkContext._jsc.sc().getExecutorMemoryStatus().size()) - 1  # the driver is one


def test_an_executor_whose_owner_is_idle_goes_and_its_device_is_free(
    spark: SparkSession, tmp_path: Path, state: Path
) -> None:
    first, again = (predicted(spark, tmp_path) for _ in range(2))
    assert again.owner == first.owner, "the executor and its owner serve the next query too"
    owner = psutil.Process(first.owner)
    assert {holder.pid for (holder,) in holds.held(state).values()} == {first.owner}
    assert executors(spark) == 1

    eventually(lambda: not executors(spark), limit_s=_GONE_LIMIT_S)
    assert_gone([owner], within_s=_GONE_LIMIT_S)
    assert not holds.held(state)

    later = predicted(spark, tmp_path)
    assert later.executor != first.executor
    assert later.owner != first.owner
    assert {holder.pid for (holder,) in holds.held(state).values()} == {later.owner}
