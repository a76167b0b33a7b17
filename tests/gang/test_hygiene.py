"""What an earlier task left in a reused Python worker: the peer fails, ours works.

The peer is TorchDistributor of the same Spark, in the same application.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from pyspark import cloudpickle
from pyspark.errors import PySparkException
from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.sql import SparkSession

import tritium
from rigs.cluster import cluster
from tritium.train.cpus import usable

pytestmark = [pytest.mark.spark, pytest.mark.torch, pytest.mark.timeout(900)]
cloudpickle.register_pickle_by_value(sys.modules[__name__])

TASK_AMOUNT = "spark.task.resource.gpu.amount"


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    """The peer only works where every task of every stage asks for a device."""
    with cluster(cores=2, gpus=2, conf={TASK_AMOUNT: "1"}) as session:
        yield session


def see(spark: SparkSession, *, leave: str | None) -> list[tuple[str | None, str]]:
    """What each of four barrier tasks found in its worker, and the address that Spark granted it."""

    def task(batches: Any) -> Any:
        import os

        import pyarrow as pa
        from pyspark import BarrierTaskContext

        list(batches)
        (address,) = BarrierTaskContext.get().resources()["gpu"].addresses
        found = os.environ.get("CUDA_VISIBLE_DEVICES")
        if leave is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = leave.format(address=address)
        yield pa.RecordBatch.from_pydict({"found": pa.array([found], pa.string()), "granted": [address]})

    schema = "found string, granted string"
    rows = spark.range(0, 4, 1, 4).mapInArrow(task, schema, barrier=True).collect()
    return [(row.found, row.granted) for row in rows]


@pytest.fixture
def workers_with_no_device(spark: SparkSession) -> Iterator[None]:
    """An earlier stage computed on the CPU and said so, as inference that pins its device does."""
    see(spark, leave="")
    yield
    clean(spark)


def clean(spark: SparkSession) -> None:
    """Forget it in the workers of `see`: RDDs have workers of their own."""

    def forget(batches: Any) -> Any:
        import os

        import pyarrow as pa

        list(batches)
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        yield pa.RecordBatch.from_pydict({"clean": [True]})

    spark.range(0, 4, 1, 4).mapInArrow(forget, "clean boolean", barrier=True).collect()


def visible() -> str:
    import os

    return os.environ["CUDA_VISIBLE_DEVICES"]


@pytest.mark.usefixtures("workers_with_no_device")
def test_after_a_stage_on_the_cpu_the_peers_ranks_see_no_device() -> None:
    peer = TorchDistributor(num_processes=2, local_mode=False, use_gpu=True).run(visible)

    assert peer == "", "the peer is mended: this is no difference any more"


@pytest.mark.usefixtures("workers_with_no_device")
def test_after_a_stage_on_the_cpu_our_ranks_see_their_own_devices() -> None:
    ours = tritium.Gang(ranks=2).run(visible)

    assert len(set(ours.values)) == 1, "both see both, so that they can reach each other"
    assert sorted(ours.values[0].split(",")) == sorted(rank.devices[0].uuid for rank in ours.ranks)


def test_a_barrier_task_that_trusts_a_reused_worker_uses_anothers_device(spark: SparkSession) -> None:
    try:
        see(spark, leave="left by {address}")
        found = see(spark, leave=None)
    finally:
        clean(spark)

    assert all(left is not None for left, _ in found), "workers were used again"


def test_our_block_leaves_nothing_behind_in_a_reused_worker(spark: SparkSession) -> None:
    def task(batches: Any) -> Any:
        import pyarrow as pa
        from pyspark import BarrierTaskContext

        list(batches)
        with tritium.devices() as (device,):
            BarrierTaskContext.get().barrier()
            yield pa.RecordBatch.from_pydict({"used": [device.uuid]})

    rows = spark.range(0, 4, 1, 4).mapInArrow(task, "used string", barrier=True).collect()

    used = [row.used for row in rows]
    assert len(set(used)) == 4
    assert {left for left, _ in see(spark, leave=None)} == {None}


def threads() -> str:
    import os

    return os.environ["OMP_NUM_THREADS"]


def test_the_peers_rank_has_the_threads_of_one_spark_task() -> None:
    assert TorchDistributor(num_processes=1, local_mode=False, use_gpu=True).run(threads) == "1"


def test_our_rank_has_the_threads_of_its_cores() -> None:
    assert tritium.Gang(ranks=1).run(threads).values == (str(usable()),)
    assert tritium.Gang(ranks=2).run(threads).values == (str(max(1, usable() // 2)),) * 2


def test_cuda_that_a_task_initialised_outside_of_a_block_is_refused(spark: SparkSession) -> None:
    """Without a GPU torch cannot be initialised, so its own flag is set, in the worker."""

    def task(_: Any) -> list[int]:
        import torch

        torch.cuda._initialized = True
        try:
            with tritium.devices() as devices:
                return [len(devices)]
        finally:
            torch.cuda._initialized = False

    with pytest.raises(
        PySparkException, match="CannotHold: CUDA is already initialised in this Python worker"
    ):
        spark.sparkContext.parallelize([0], 1).mapPartitions(task).collect()
