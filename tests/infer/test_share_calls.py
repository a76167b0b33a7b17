"""``share_mib`` and ``priority`` on real Spark: they mean the same in `predict` and in `predict_udf`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark import cloudpickle
from pyspark.sql import SparkSession

import tritium
from rigs.cluster import local
from tritium.errors import BadSpec
from tritium_discovery import Settings, holds, state_directory

pytestmark = pytest.mark.spark
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def spark(preimports: None) -> Iterator[SparkSession]:
    """Two tasks at a time and one device for them."""
    assert preimports is None
    with local(2, machine="one-gpu") as session:
        yield session


def held_here() -> str:
    """How the process that runs a model holds its device, and what it was told of that."""
    everybody = holds.held(state_directory(Settings.from_env(os.environ)))
    (mine,) = (one for having in everybody.values() for one in having if one.pid == os.getpid())
    return f"{mine.mib} MiB, priority {mine.priority}, told {os.environ.get('TRITIUM_SHARE_MIB')}"


def load(_: Any) -> Any:
    return lambda rows: np.full(len(rows["id"]), held_here(), dtype=object)


def make_predict_fn() -> Any:
    return lambda ids: np.full(len(ids), held_here(), dtype=object)


def test_models_of_both_calls_hold_their_shares_of_one_device(spark: SparkSession, state: Path) -> None:
    rows = spark.range(0, 6, 1, 2)
    column = tritium.predict_udf(
        make_predict_fn, return_type="string", batch_size=2, share_mib=6_000, priority=-1
    )

    predicted = tritium.predict(rows, model=load, output="held string", share_mib=9_000, priority=2)
    held = {row.held for row in predicted.collect()}
    held_by_udf = {row.held for row in rows.select(column("id").alias("held")).collect()}

    assert held == {"9000 MiB, priority 2, told 9000"}
    assert held_by_udf == {"6000 MiB, priority -1, told 6000"}
    assert [sorted(one.mib or 0 for one in having) for having in holds.held(state).values()] == [
        [6_000, 9_000]
    ]


def test_without_a_share_a_model_of_either_call_has_the_device_alone(spark: SparkSession) -> None:
    rows = spark.range(0, 6, 1, 2)
    column = tritium.predict_udf(make_predict_fn, return_type="string", batch_size=2)

    held = {row.held for row in tritium.predict(rows, model=load, output="held string").collect()}
    held_by_udf = {row.held for row in rows.select(column("id").alias("held")).collect()}

    assert held == held_by_udf == {"None MiB, priority 0, told None"}


def test_a_share_of_more_than_one_device_is_refused_before_anything_runs(spark: SparkSession) -> None:
    with pytest.raises(BadSpec) as refused:
        tritium.predict(spark.range(1), model=load, gpu=2, share_mib=4_096)

    assert str(refused.value) == "predict: share_mib: a share is of one device, and gpu is 2"
