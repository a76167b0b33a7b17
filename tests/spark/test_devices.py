"""Inside any PySpark task a block holds exactly the task's devices, and afterwards all is as before."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyspark import cloudpickle
from pyspark.errors import PySparkException
from pyspark.resource import ResourceProfile
from pyspark.sql import SparkSession
from pyspark.sql.pandas.functions import pandas_udf

import tritium
from rigs.cuda import driver
from rigs.uses import assert_never_shared
from tritium.errors import CannotHold
from tritium.spark.inventory import EXACT
from tritium.spark.profile import resource_profile
from tritium_discovery import Uuid, claims, holds

pytestmark = pytest.mark.spark
cloudpickle.register_pickle_by_value(sys.modules[__name__])

CUDA = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")


def use(**options: Any) -> dict[str, Any]:
    """What one task saw before, inside and after the block."""
    import os
    import time

    from tritium_discovery import Settings, holds, state_directory

    directory = state_directory(Settings.from_env(os.environ))
    before = [os.environ.get(name) for name in CUDA]
    with tritium.devices(**options) as devices:
        began = time.time()
        time.sleep(0.5)
        held = holds.held(directory)
        seen = {
            "uuids": [device.uuid for device in devices],
            "memory": [device.memory_mib for device in devices],
            "addresses": [device.address for device in devices],
            "environment": [os.environ[name] for name in CUDA],
            "holders": [held[device.uuid][0].pid == os.getpid() for device in devices],
            "began": began,
            "ended": time.time(),
        }
    return {**seen, "restored": [os.environ.get(name) for name in CUDA] == before}


def in_plain_rdd(spark: SparkSession, profile: ResourceProfile) -> list[Any]:
    return spark.sparkContext.parallelize(range(4), 4).withResources(profile).map(lambda _: use()).collect()


def in_barrier_rdd(spark: SparkSession, profile: ResourceProfile) -> list[Any]:
    rdd = spark.sparkContext.parallelize(range(4), 4).withResources(profile)
    return rdd.barrier().mapPartitions(lambda _: [use()]).collect()


def in_map_in_arrow(spark: SparkSession, profile: ResourceProfile) -> list[Any]:
    def task(batches: Any) -> Any:
        import pyarrow as pa

        list(batches)
        yield pa.RecordBatch.from_pydict({"seen": [repr(use())]})

    rows = spark.range(0, 4, 1, 4).mapInArrow(task, "seen string", profile=profile).collect()
    return [eval(row.seen) for row in rows]  # noqa: S307  our own repr


def in_pandas_udf(spark: SparkSession, _: ResourceProfile) -> list[Any]:
    def seen(ids: pd.Series) -> pd.Series:
        return pd.Series([repr(use(count=1))] * len(ids))

    udf: Any = pandas_udf  # its overloads know only enumerated types
    column = udf(seen, "string")
    return [eval(row.seen) for row in spark.range(0, 4, 1, 4).select(column("id").alias("seen")).collect()]  # noqa: S307


@pytest.mark.parametrize("way", [in_plain_rdd, in_barrier_rdd, in_map_in_arrow, in_pandas_udf])
def test_a_task_holds_its_devices_for_the_block_only(
    spark: SparkSession, state: Path, way: Callable[[SparkSession, ResourceProfile | None], list[Any]]
) -> None:
    seen = way(spark, resource_profile(spark, gpus=1))

    assert len(seen) == 4
    claimed = {device.uuid: device.address for claim in claims.live(state) for device in claim.devices}
    for task in seen:
        (uuid,) = task["uuids"]
        assert task["environment"] == [uuid, "PCI_BUS_ID"]
        assert task["addresses"] == [claimed[uuid]]
        assert task["memory"] == [40960]
        assert task["holders"] == [True]
        assert task["restored"]
    assert_never_shared((task["uuids"][0], task["began"], task["ended"]) for task in seen)
    assert not holds.held(state)


def test_as_many_as_spark_granted_and_the_best_linked_of_the_executors(spark: SparkSession) -> None:
    profile = resource_profile(spark, gpus=2)

    tasks = in_map_in_arrow(spark, profile)  # type: ignore[arg-type]  # this session schedules GPUs

    assert all(len(set(task["uuids"])) == 2 for task in tasks)
    assert all(task["environment"][0] == ",".join(task["uuids"]) for task in tasks)


def failing(spark: SparkSession, gpus: int = 0, **options: Any) -> str:
    def task(batches: Any) -> Any:
        list(batches)
        use(**options)
        yield from ()

    profile = resource_profile(spark, gpus=gpus)
    with pytest.raises(PySparkException) as caught:
        spark.range(0, 1, 1, 1).mapInArrow(task, "seen string", profile=profile).collect()
    return str(caught.value)


def test_another_number_than_spark_granted_is_refused(spark: SparkSession) -> None:
    assert "2 devices asked for, and Spark granted this task 1" in failing(spark, gpus=1, count=2)


@pytest.fixture
def everything_held(spark: SparkSession, state: Path) -> Iterator[None]:
    owned: list[Uuid] = [device.uuid for claim in claims.live(state) for device in claim.devices]
    assert spark.version
    with holds.take(owned, what="a model that does not let go", directory=state):
        yield


@pytest.mark.usefixtures("everything_held")
def test_a_device_that_somebody_holds_is_waited_for_and_then_refused_with_the_holder(
    spark: SparkSession,
) -> None:
    text = failing(spark, gpus=1, wait_s=0.5)

    assert "CannotHold: task 0 of stage" in text
    assert f"is held by a model that does not let go (pid {os.getpid()})" in text


def test_no_device_for_a_process_that_is_no_task() -> None:
    with pytest.raises(CannotHold, match="devices belong to Spark tasks"), tritium.devices():
        pass


def test_what_an_earlier_task_left_in_a_reused_worker_hides_no_device(spark: SparkSession) -> None:
    def leave(_: Any) -> int:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return os.getpid()

    parallel = spark.sparkContext.parallelize(range(8), 8)
    try:
        spoilt = set(parallel.map(leave).collect())
        seen = parallel.map(lambda _: (os.getpid(), use()["uuids"])).collect()
    finally:
        parallel.map(lambda _: os.environ.pop("CUDA_VISIBLE_DEVICES", None)).count()

    assert {pid for pid, _ in seen} & spoilt, "at least one worker was used again"
    assert all(uuids for _, uuids in seen)


@pytest.fixture
def exact(spark: SparkSession) -> Iterator[None]:
    spark.conf.set(EXACT, "exact")
    yield
    spark.conf.unset(EXACT)


def granted() -> list[int]:
    from pyspark import TaskContext

    context = TaskContext.get()
    assert context is not None
    return sorted(map(int, context.resources()["gpu"].addresses))


@pytest.mark.usefixtures("exact")
def test_exact_addresses_keep_to_what_spark_granted(spark: SparkSession) -> None:
    def task(batches: Any) -> Any:
        import pyarrow as pa

        list(batches)
        yield pa.RecordBatch.from_pydict({"same": [sorted(use()["addresses"]) == granted()]})

    rows = spark.range(0, 4, 1, 4).mapInArrow(task, "same boolean", profile=resource_profile(spark, gpus=2))

    assert all(row.same for row in rows.collect())


def test_the_tasks_of_an_rdd_job_are_told_by_their_environment(spark: SparkSession) -> None:
    def task(_: Any) -> list[bool]:
        os.environ["TRITIUM_ADDRESSES"] = "exact"
        try:
            return [sorted(use()["addresses"]) == granted()]
        finally:
            del os.environ["TRITIUM_ADDRESSES"]

    profile = resource_profile(spark, gpus=2)
    assert profile is not None
    rdd = spark.sparkContext.parallelize(range(4), 4).withResources(profile)

    assert all(rdd.mapPartitions(task).collect())


@pytest.mark.usefixtures("exact")
def test_a_gang_with_exact_addresses_opens_what_spark_granted_each_task() -> None:
    ranks = tritium.Gang(ranks=4, gpus_per_rank=2).run(lambda: None).ranks

    for rank in ranks:
        pool, _, addresses = rank.executor.partition(", addresses ")
        assert pool.startswith("executor ")
        assert sorted(map(int, addresses.split(","))) == sorted(device.address for device in rank.devices)
    assert len({device.uuid for rank in ranks for device in rank.devices}) == 8


@pytest.mark.nvml
@pytest.mark.parametrize("started", ["cuInit", None])
def test_cuda_that_was_initialised_outside_of_a_block_is_refused(
    spark: SparkSession, tmp_path: Path, started: str | None
) -> None:
    library = str(driver(tmp_path))

    def task(batches: Any) -> Any:
        import ctypes

        list(batches)
        loaded = ctypes.CDLL(library)
        if started:
            getattr(loaded, started)(0)
        use()
        yield from ()

    refusal = pytest.raises(PySparkException, match="CannotHold: CUDA is already initialised in this Python")
    with refusal if started else nullcontext():
        spark.range(0, 1, 1, 1).mapInArrow(task, "seen string").collect()
