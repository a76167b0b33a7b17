"""Two models share one device: a third that does not fit is refused, and both give way to a gang."""

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
from tritium.errors import BadSpec, CannotHold
from tritium.infer import failures
from tritium_discovery import Uuid, claims, holds

pytestmark = pytest.mark.spark
cloudpickle.register_pickle_by_value(sys.modules[__name__])

ROWS = 300
SHARES = {"digits": 20_000, "faces": 18_000}
"""Of 40960 MiB."""


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    """One executor with two devices: with Spark two tasks that feed a device count as one."""
    with cluster(workers=1, gpus=2) as session:
        yield session


@pytest.fixture
def device(spark: SparkSession, state: Path) -> Iterator[Uuid]:
    """The only device that is to be had: somebody holds the other."""
    assert spark is not None
    one, other = (device.uuid for claim in claims.live(state) for device in claim.devices)
    with holds.take([other], what="a notebook", directory=state):
        yield one


class Slow:
    """A model that takes its time until somebody says that it is over."""

    def __init__(self, name: str, over: Path) -> None:
        self.name, self.over = name, over

    def __call__(self, device: Any) -> Any:
        import os

        share = int(os.environ["TRITIUM_SHARE_MIB"])

        def predict(batch: Any) -> Any:
            import numpy as np

            if batch["id"][0] == 1:
                self.over.with_name(f"first answered: {self.name}").touch()
            time.sleep(0 if self.over.exists() else 0.25)
            rows = len(batch["id"])
            values = {"uuid": np.full(rows, device.uuid, object), "share": np.full(rows, share)}
            return {**values, "pid": np.full(rows, os.getpid()), "at": np.full(rows, time.time())}

        return predict


Queries = dict[str, Future[list[Row]]]


@contextmanager
def queries(spark: SparkSession, over: Path) -> Iterator[Queries]:
    """Run a query of one task for each of two models; when the block begins both are fed."""

    def run(name: str) -> list[Row]:
        frame = tritium.predict(
            spark.range(0, ROWS, 1, 1),
            model=Slow(name, over),
            output="uuid string, share long, pid long, at double",
            batch_size=1,
            share_mib=SHARES[name],
        )
        return frame.collect()

    with ThreadPoolExecutor(2) as pool:
        futures = {name: pool.submit(run, name) for name in SHARES}
        try:
            eventually(lambda: len(list(over.parent.glob("first answered: *"))) == 2, limit_s=60)
            yield futures
        finally:
            over.touch()


def test_both_models_give_way_to_a_gang_and_go_on_after_it(
    spark: SparkSession, device: Uuid, state: Path, tmp_path: Path
) -> None:
    with queries(spark, tmp_path / "over") as running:
        sharing = holds.held(state)[device]
        [(uuid, began, ended)] = tritium.Gang(ranks=1).run(use).values
        eventually(lambda: len(holds.held(state).get(device, ())) == 2, limit_s=60)
    both = {name: future.result(timeout=60) for name, future in running.items()}

    assert uuid == device
    assert sorted(holder.mib or 0 for holder in sharing) == sorted(SHARES.values())
    for name, rows in both.items():
        assert [row.id for row in rows] == list(range(ROWS))
        assert {(row.uuid, row.share) for row in rows} == {(device, SHARES[name])}
        assert len({row.pid for row in rows}) == 2
        assert not [row for row in rows if began <= row.at <= ended]


def test_a_third_model_that_does_not_fit_is_refused_and_told_who_has_the_memory(
    spark: SparkSession, device: Uuid, state: Path, tmp_path: Path
) -> None:
    with queries(spark, tmp_path / "over"):
        sharing = holds.held(state)[device]
        third = tritium.predict(spark.range(0, 1, 1, 1), model=len, share_mib=4_000, wait_s=2.0)
        with pytest.raises(CannotHold, match="waited 2 s for a device: ") as refused, failures():
            third.collect()

    (sentence,) = [
        part for part in str(refused.value).split(": ", 1)[1].split("; ") if part.startswith(device)
    ]
    assert sentence.startswith(f"{device}: 2960 MiB left besides owner of model ")
    assert sentence.endswith(", 4000 needed")
    assert all(str(holder) in sentence for holder in sharing)


def test_what_is_no_share_is_refused_before_anything_runs(spark: SparkSession) -> None:
    with pytest.raises(BadSpec) as caught:
        tritium.predict(spark.range(1), model=len, share_mib=0, gpu=2)

    assert str(caught.value).splitlines() == [
        "predict: share_mib: expected an integer >= 1, got 0",
        "predict: share_mib: a share is of one device, and gpu is 2",
    ]
