"""What an earlier task left in a reused Python worker: the peer fails, ours works.

The peer is TorchDistributor of the same Spark, in the same application.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark import cloudpickle
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
        import time

        import pyarrow as pa
        from pyspark import BarrierTaskContext

        list(batches)
        (address,) = BarrierTaskContext.get().resources()["gpu"].addresses
        found = os.environ.get("CUDA_VISIBLE_DEVICES")
        if leave is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = leave.format(address=address)
            time.sleep(1.0 - int(address) / 8)
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


def pinned(spark: SparkSession) -> list[tuple[str | None, str]]:
    """What tasks find after stages whose tasks each pinned the device that Spark had granted them.

    Workers are used again in the order in which they came free, and whoever has a higher address ends first:
    most often the first stage is enough for one to find another's.
    """
    found: list[tuple[str | None, str]] = []
    tries = 0
    while all(left == granted for left, granted in found) and (tries := tries + 1) <= 10:
        see(spark, leave="{address}")
        found = see(spark, leave=None)
        assert all(left is not None for left, _ in found), "workers were used again"
    return found


def test_after_a_stage_that_pins_its_devices_a_plain_task_uses_anothers_and_ours_its_own(
    spark: SparkSession,
) -> None:
    def task(batches: Any) -> Any:
        import os

        import pyarrow as pa
        from pyspark import BarrierTaskContext

        list(batches)
        found = os.environ["CUDA_VISIBLE_DEVICES"]
        with tritium.devices() as (device,):
            BarrierTaskContext.get().barrier()
            visible = os.environ["CUDA_VISIBLE_DEVICES"]
        yield pa.RecordBatch.from_pydict(
            {
                "found": [found],
                "used": [device.uuid],
                "visible": [visible],
                "left": [os.environ["CUDA_VISIBLE_DEVICES"]],
            }
        )

    schema = "found string, used string, visible string, left string"
    try:
        peer = pinned(spark)
        rows = spark.range(0, 4, 1, 4).mapInArrow(task, schema, barrier=True).collect()
    finally:
        clean(spark)

    assert any(left != granted for left, granted in peer), (
        "the peer is mended: this is no difference any more"
    )
    assert len({row.used for row in rows}) == 4, "in the same workers each has a device of its own"
    assert [row.visible for row in rows] == [row.used for row in rows]
    assert [row.left for row in rows] == [row.found for row in rows], "and nothing else is left behind"


def note(*, folder: str) -> str:
    import os
    from pathlib import Path

    seen = os.environ["CUDA_VISIBLE_DEVICES"]
    Path(folder, os.environ["RANK"]).write_text(seen)
    return seen


def test_after_a_stage_that_pins_one_device_the_peers_ranks_share_it_and_ours_have_their_own(
    spark: SparkSession, tmp_path: Path
) -> None:
    see(spark, leave="0")
    try:
        TorchDistributor(num_processes=2, local_mode=False, use_gpu=True).run(note, folder=str(tmp_path))
        ours = tritium.Gang(ranks=2).run(visible)
    finally:
        clean(spark)

    peers = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert peers == {"0": "0", "1": "0"}, "the peer is mended: this is no difference any more"
    assert len({rank.devices[0].uuid for rank in ours.ranks}) == 2
    assert sorted(ours.values[0].split(",")) == sorted(rank.devices[0].uuid for rank in ours.ranks)


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
