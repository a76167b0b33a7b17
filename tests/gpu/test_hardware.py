"""What only hardware can show: what frameworks see of devices, and what NCCL, MIG and fork make of them.

Runs where NVML finds a GPU and is skipped elsewhere: `pytest -m gpu`. One executor owns all devices.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
from pyspark import cloudpickle
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

import tritium
from rigs.devices import whole
from tritium.errors import TritiumError
from tritium_discovery import Device, Settings, discover

pytestmark = [pytest.mark.gpu, pytest.mark.spark, pytest.mark.torch, pytest.mark.timeout(600)]
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def seen_by(framework: str) -> list[str]:
    """UUIDs of the devices that a framework sees, or their count in dashes where it knows no UUIDs."""
    if framework == "torch":
        import torch

        return [f"GPU-{torch.cuda.get_device_properties(n).uuid}" for n in range(torch.cuda.device_count())]
    module: Any = import_module(framework)
    if framework == "cupy":
        return ["-"] * int(module.cuda.runtime.getDeviceCount())
    if framework == "jax":
        return ["-"] * len(module.devices("gpu"))
    return ["-"] * len(module.config.list_physical_devices("GPU"))


@pytest.mark.parametrize("framework", ["torch", "cupy", "jax", "tensorflow"])
def test_a_rank_sees_its_own_device_and_no_other(
    spark: SparkSession, devices: tuple[Device, ...], framework: str
) -> None:
    if find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    whole(devices, least=1)
    assert spark.version

    result = tritium.Gang(ranks=1).run(seen_by, framework=framework)

    (device,) = result.ranks[0].devices
    assert result.values[0] in ([device.uuid], ["-"])


def set_own_device() -> tuple[str, list[str]]:
    import torch

    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    current = torch.cuda.get_device_properties(torch.cuda.current_device()).uuid
    return f"GPU-{current}", seen_by("torch")


@pytest.mark.usefixtures("spark")
def test_ranks_of_one_host_see_each_others_devices_and_take_their_own(devices: tuple[Device, ...]) -> None:
    whole(devices, least=2)

    result = tritium.Gang(ranks=2).run(set_own_device)

    for (current, seen), rank in zip(result.values, result.ranks, strict=True):
        assert current == rank.devices[0].uuid
        assert seen == [one.devices[0].uuid for one in result.ranks]


def reduce_over_nccl() -> float:
    import torch
    import torch.distributed as dist

    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl")
    number = torch.tensor([float(dist.get_rank() + 1)], device="cuda")
    dist.all_reduce(number)
    dist.destroy_process_group()
    return float(number.item())


@pytest.mark.usefixtures("spark")
def test_ranks_reduce_over_nccl(devices: tuple[Device, ...]) -> None:
    whole(devices, least=1)
    ranks = min(4, len(devices))

    assert tritium.Gang(ranks=ranks).run(reduce_over_nccl).values == (ranks * (ranks + 1) / 2,) * ranks


def compute_after_fork() -> tuple[float, bool]:
    """Tell whether this rank came from the fork server, which it did if nobody imported torch since."""
    forked = "torch" in sys.modules
    import torch

    return float((torch.ones(1000, device="cuda") * 2).sum().item()), forked


@pytest.mark.usefixtures("spark")
def test_cuda_starts_in_a_forked_rank_as_the_server_never_touched_it(devices: tuple[Device, ...]) -> None:
    whole(devices, least=1)
    for _ in range(2):
        assert tritium.Gang(ranks=1).run(compute_after_fork).values == ((2000.0, True),)


def test_a_worker_in_which_cuda_started_outside_of_a_block_is_refused(spark: SparkSession) -> None:
    def task(_: Any) -> list[int]:
        import torch

        start: Any = torch.cuda.init  # it has no types
        start()
        with tritium.devices(count=1) as devices:
            return [len(devices)]

    with pytest.raises(
        PySparkException, match="CannotHold: CUDA is already initialised in this Python worker"
    ):
        spark.sparkContext.parallelize([0], 1).mapPartitions(task).collect()


def start_cuda() -> tuple[bool, bool, bool]:
    import pynvml
    import torch

    from tritium.spark.cuda import cuda_is_initialised

    before = cuda_is_initialised()
    pynvml.nvmlInit()
    after_nvml = cuda_is_initialised()
    start: Any = torch.cuda.init  # it has no types
    start()
    return before, after_nvml, cuda_is_initialised()


@pytest.mark.usefixtures("spark")
def test_the_driver_tells_that_cuda_started_and_neither_torch_nor_nvml_alone_does_it(
    devices: tuple[Device, ...],
) -> None:
    whole(devices, least=1)

    assert tritium.Gang(ranks=1).run(start_cuda).values == ((False, False, True),)


def fill() -> int:
    import torch

    block = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    torch.cuda.synchronize()
    (own,) = tritium.rank().devices
    (now,) = [device for device in discover(Settings.from_env(os.environ)).devices if device.uuid == own.uuid]
    del block
    return own.free_mib - now.free_mib


@pytest.mark.usefixtures("spark")
def test_memory_that_a_rank_takes_is_taken_on_the_very_device_it_holds(devices: tuple[Device, ...]) -> None:
    whole(devices, least=1)

    assert tritium.Gang(ranks=1).run(fill).values[0] >= 1024


@pytest.mark.usefixtures("spark")
def test_ranks_on_mig_instances_are_refused_and_a_single_one_computes(devices: tuple[Device, ...]) -> None:
    instances = [device for device in devices if device.parent is not None]
    if len(instances) < 2:
        pytest.skip("two MIG instances are needed")

    assert tritium.Gang(ranks=1).run(compute_after_fork).values[0][0] == 2000.0
    with pytest.raises(TritiumError, match="MIG"):
        tritium.Gang(ranks=2).run(reduce_over_nccl)
