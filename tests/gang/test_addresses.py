"""Tasks that share devices, and a discovery script that reports UUIDs: the peer fails, ours works.

The peer is TorchDistributor of the same Spark, in the same application.
"""

from __future__ import annotations

import os
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
from tritium.spark.profile import resource_profile

pytestmark = [pytest.mark.spark, pytest.mark.torch, pytest.mark.timeout(900)]
cloudpickle.register_pickle_by_value(sys.modules[__name__])

TASK_AMOUNT = "spark.task.resource.gpu.amount"


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    script = tmp_path_factory.mktemp("script") / "by-uuid"
    discover = Path(sys.executable).with_name("gpu-discover")
    program = (
        "import json, subprocess, sys; "
        f"said = subprocess.run([{str(discover)!r}], stdout=subprocess.PIPE, check=True).stdout; "
        "found = json.loads(said); "
        "print(json.dumps({'name': 'gpu', 'addresses': [one['uuid'] for one in found['devices']]}))"
    )
    script.write_text(f'#!/bin/sh\n"{sys.executable}" -c "{program}"\n')
    script.chmod(0o755)
    conf = {TASK_AMOUNT: "0.5", "spark.worker.resource.gpu.discoveryScript": str(script)}
    with cluster(cores=2, gpus=2, conf=conf) as session:
        yield session


def test_the_peer_cannot_read_a_fraction(spark: SparkSession) -> None:
    assert spark.version
    with pytest.raises(ValueError, match=r"invalid literal for int\(\) with base 10: '0.5'"):
        TorchDistributor(num_processes=2, local_mode=False, use_gpu=True)


def test_the_peer_cannot_read_a_uuid(spark: SparkSession) -> None:
    def task(_: Any) -> list[str]:
        from pyspark import BarrierTaskContext
        from pyspark.ml.torch.distributor import _get_gpus_owned

        return list(_get_gpus_owned(BarrierTaskContext.get()))

    with pytest.raises(Exception, match="not all in the correct format") as caught:
        spark.sparkContext.parallelize([0], 1).barrier().mapPartitions(task).collect()
    assert "GPU-" in str(caught.value)


def visible() -> str:
    import os

    return os.environ["CUDA_VISIBLE_DEVICES"]


def test_ours_reads_both(spark: SparkSession) -> None:
    gang = tritium.Gang(ranks=2, gpus_per_rank=2).run(visible)

    devices = {device.uuid for rank in gang.ranks for device in rank.devices}
    assert len(devices) == 4
    assert set(gang.values[0].split(",")) == devices
    profile = resource_profile(spark, gpus=1)
    assert profile is not None

    def task(_: Any) -> list[str]:
        with tritium.devices() as (device,):
            return [device.uuid]

    # In the default profile, where two tasks are granted one device, and in one of their own.
    parallel = spark.sparkContext.parallelize(range(4), 4)
    assert set(parallel.mapPartitions(task).collect()) <= devices
    assert set(parallel.withResources(profile).mapPartitions(task).collect()) <= devices


def test_exact_addresses_may_be_uuids(spark: SparkSession) -> None:
    def task(_: Any) -> list[bool]:
        from pyspark import TaskContext

        context = TaskContext.get()
        assert context is not None
        os.environ["TRITIUM_ADDRESSES"] = "exact"
        try:
            with tritium.devices() as devices:
                return [[device.uuid for device in devices] == context.resources()["gpu"].addresses]
        finally:
            del os.environ["TRITIUM_ADDRESSES"]

    profile = resource_profile(spark, gpus=1)
    assert profile is not None
    rdd = spark.sparkContext.parallelize(range(2), 2).withResources(profile)
    assert rdd.mapPartitions(task).collect() == [True, True]
