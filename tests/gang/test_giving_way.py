"""Models that are fed give their device to a gang that is more important, and to no other; then go on."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyspark import cloudpickle
from pyspark.sql import Row, SparkSession

import tritium
from gang.holding import use
from rigs.cluster import cluster
from rigs.processes import eventually
from tritium.errors import Unplaceable
from tritium_discovery import holds

pytestmark = pytest.mark.spark
cloudpickle.register_pickle_by_value(sys.modules[__name__])

ROWS = 300
LOW, HIGH = 3, 7


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    """One executor with two devices: two queries feed one each, and count as one device with Spark."""
    with cluster(workers=1, gpus=2) as session:
        yield session


class Slow:
    """A model that takes its time until somebody says that it is over."""

    def __init__(self, over: Path) -> None:
        self.over = over

    def __call__(self, device: Any) -> Any:
        import os

        def predict(batch: Any) -> Any:
            import numpy as np

            if batch["id"][0] == 1:
                self.over.with_name(f"first answered by {device.uuid}").touch()
            time.sleep(0 if self.over.exists() else 0.25)
            rows = len(batch["id"])
            values = {"uuid": np.full(rows, device.uuid, object), "pid": np.full(rows, os.getpid())}
            return {**values, "at": np.full(rows, time.time())}

        return predict


Queries = dict[int, Future[list[Row]]]


@contextmanager
def queries(spark: SparkSession, state: Path, over: Path) -> Iterator[Queries]:
    """Run a query of one task for each of two models; when the block begins both are fed."""

    def run(priority: int) -> list[Row]:
        frame = tritium.predict(
            spark.range(0, ROWS, 1, 1),
            model=Slow(over),
            output="uuid string, pid long, at double",
            batch_size=1,
            priority=priority,
        )
        return frame.collect()

    with ThreadPoolExecutor(2) as pool:
        futures = {priority: pool.submit(run, priority) for priority in (LOW, HIGH)}
        try:
            eventually(lambda: len(list(over.parent.glob("first answered by *"))) == 2, limit_s=60)
            assert {holder.priority for (holder,) in holds.held(state).values()} == {LOW, HIGH}
            yield futures
        finally:
            over.touch()


def test_the_less_important_model_gives_way_and_goes_on_after_the_gang(
    spark: SparkSession, state: Path, tmp_path: Path
) -> None:
    with queries(spark, state, tmp_path / "over") as running:
        [(uuid, began, ended)] = tritium.Gang(ranks=1, priority=HIGH - 1).run(use).values
    both = {priority: future.result(timeout=60) for priority, future in running.items()}

    during = {priority: [row for row in rows if began <= row.at <= ended] for priority, rows in both.items()}
    low, high = both[LOW], both[HIGH]
    assert {row.uuid for row in low} == {uuid}
    assert len(low) == len(high) == ROWS
    assert not during[LOW]
    assert len(during[HIGH]) > 3
    assert len({row.pid for row in low}) == 2
    assert len({row.pid for row in high}) == 1


def test_a_gang_that_is_not_more_important_waits_and_is_told_for_whom(
    spark: SparkSession, state: Path, tmp_path: Path
) -> None:
    with queries(spark, state, tmp_path / "over") as running:
        owners = {str(holder) for (holder,) in holds.held(state).values()}
        with pytest.raises(Unplaceable) as refused:
            tritium.Gang(ranks=1, priority=LOW, launch_timeout_s=4).run(use)
    pids = {row.pid for future in running.values() for row in future.result(timeout=60)}

    assert {owner for owner in owners if owner in str(refused.value)} == owners
    assert len(pids) == 2
    # Nobody feeds them any more: now they give way to any.
    assert len(tritium.Gang(ranks=2, priority=-1).run(use).values) == 2
