"""What only hardware can show of inference: memory that runs out, a device that breaks, and calls that return
before the device is done."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark import cloudpickle
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import FloatType

import tritium
from rigs.devices import whole
from tritium.infer import read_reports
from tritium.infer.profile import merged
from tritium_discovery import Device, Settings, discover

pytestmark = [pytest.mark.gpu, pytest.mark.spark, pytest.mark.torch, pytest.mark.timeout(300)]
cloudpickle.register_pickle_by_value(sys.modules[__name__])

ROWS, BATCH = 4096, 512


@pytest.fixture(scope="module")
def rows(
    spark: SparkSession, devices: tuple[Device, ...], tmp_path_factory: pytest.TempPathFactory
) -> DataFrame:
    """Numbers from 0 on, in one file per task."""
    whole(devices, least=1)
    path = str(tmp_path_factory.mktemp("rows") / "numbers")
    spark.range(0, ROWS, 1, 4).selectExpr("id AS x").write.parquet(path)
    return spark.read.parquet(path)


def answers(frame: DataFrame, *columns: str) -> dict[int, Any]:
    return {row["x"]: tuple(row[name] for name in columns) for row in frame.select("x", *columns).collect()}


def doubling(device: Device) -> Callable[..., Any]:
    """Load a model that says which device it computed on; its numbers stay on the device."""
    import torch

    found = torch.cuda.get_device_properties(0).uuid
    assert torch.cuda.device_count() == 1

    def predict(columns: Mapping[str, Any]) -> Mapping[str, Any]:
        y = columns["x"].cuda() * 2
        return {
            "y": y,
            "seen": [f"GPU-{found}"] * len(y),
            "held": [device.uuid] * len(y),
            "pid": [os.getpid()] * len(y),
        }

    return predict


def test_a_model_computes_on_the_device_that_its_owner_holds(
    rows: DataFrame, devices: tuple[Device, ...]
) -> None:
    predicted = tritium.predict(
        rows,
        model=doubling,
        output="y bigint, seen string, held string, pid int",
        batches="torch",
        batch_size=BATCH,
    )

    found = answers(predicted, "y", "seen", "held", "pid")

    assert {x: y for x, (y, *_) in found.items()} == {x: 2 * x for x in range(ROWS)}
    assert all(seen == held for _, seen, held, _ in found.values())
    assert len({pid for *_, pid in found.values()}) <= len(devices)


def module(name: str) -> Any:
    """Import what has no types, or is not installed where this is checked."""
    return import_module(name)


class Hungry:
    """A model that needs so much memory for each row that only half of a batch can fit on the device."""

    def __init__(self, framework: str) -> None:
        self.framework = framework

    def __call__(self, device: Device) -> Callable[..., Any]:
        each = int(device.memory_mib * 2**20 * 1.5 / BATCH)
        return {"torch": self.torch, "jax": self.jax, "cupy": self.cupy}[self.framework](each)

    def torch(self, each: int) -> Callable[..., Any]:
        import torch

        def predict(columns: Mapping[str, Any]) -> Mapping[str, Any]:
            n = len(columns["x"])
            block = torch.ones((n, each), dtype=torch.uint8, device="cuda")
            y = torch.from_numpy(columns["x"]).cuda() + block[:, -1]
            return {"y": y, "n": np.full(n, n)}

        return predict

    def jax(self, each: int) -> Callable[..., Any]:
        jax, jnp = (module("jax"), module("jax.numpy"))

        def predict(columns: Mapping[str, Any]) -> Mapping[str, Any]:
            n = len(columns["x"])
            block = jnp.ones((n, each), dtype=jnp.uint8)
            y = jax.device_put(columns["x"].astype(np.int32)) + block[:, -1]
            return {"y": y, "n": np.full(n, n)}

        return predict

    def cupy(self, each: int) -> Callable[..., Any]:
        cupy = module("cupy")

        def predict(columns: Mapping[str, Any]) -> Mapping[str, Any]:
            n = len(columns["x"])
            block = cupy.ones((n, each), dtype=cupy.uint8)
            y = cupy.asarray(columns["x"]) + block[:, -1]
            return {"y": y.get(), "n": np.full(n, n)}

        return predict


@pytest.mark.parametrize("framework", ["torch", "jax", "cupy"])
def test_a_batch_that_the_device_cannot_hold_is_cut_and_no_row_is_lost(
    rows: DataFrame, framework: str
) -> None:
    if find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")

    predicted = tritium.predict(
        rows, model=Hungry(framework), output="y bigint, n int", batch_size=BATCH, keep_s=0
    )

    found = answers(predicted, "y", "n")
    assert {x: y for x, (y, _) in found.items()} == {x: x + 1 for x in range(ROWS)}
    assert BATCH // 8 <= max(n for _, n in found.values()) < BATCH


def looking_up(_: Device) -> Callable[..., Any]:
    """Load a table of 4,000 numbers: a row that asks for one beyond them breaks the process for CUDA."""
    import torch

    table = torch.arange(4000, dtype=torch.float32, device="cuda")[:, None]

    def predict(columns: Mapping[str, Any]) -> Any:
        return torch.nn.functional.embedding(torch.from_numpy(columns["x"]).cuda(), table)[:, 0]

    return predict


@pytest.mark.usefixtures("spark")
def test_a_row_that_breaks_cuda_is_found_and_the_others_are_answered(rows: DataFrame) -> None:
    few = rows.where("x < 3000 OR x = 4050")

    predicted = tritium.predict(
        few, model=looking_up, output="y float", batch_size=BATCH, on_error="quarantine"
    )

    found = answers(predicted, "y", "error")
    assert {x: y for x, (y, error) in found.items() if error is None} == {x: float(x) for x in range(3000)}
    (bad,) = (error for _, error in found.values() if error is not None)
    assert "device-side assert" in bad["message"]


def test_a_row_that_breaks_cuda_fails_the_job_in_the_words_of_cuda(rows: DataFrame) -> None:
    with pytest.raises(Exception, match="device-side assert"):
        answers(tritium.predict(rows, model=looking_up, output="y float", batch_size=BATCH), "y")


def asleep(_: Device) -> Callable[..., Any]:
    """Load a model whose calls return at once, while the device works for some time."""
    sleep: Any = module("torch.cuda")._sleep

    def predict(columns: Mapping[str, Any]) -> Any:
        sleep(100_000_000)  # cycles, of at most 2 GHz
        return columns["x"].cuda()

    return predict


def test_time_that_the_device_takes_after_the_call_is_the_models(rows: DataFrame, tmp_path: Path) -> None:
    predicted = tritium.predict(
        rows, model=asleep, output="y bigint", batches="torch", batch_size=BATCH, report=tmp_path / "report"
    )

    answers(predicted, "y")

    profile = merged(read_reports(tmp_path / "report"))
    assert profile.steps["predict"] / profile.batches > 0.045
    assert all(name.startswith("GPU-") for name in profile.busy)


class Limited:
    """A model that keeps to its share of the device."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, device: Device) -> Callable[..., Any]:
        import torch

        share = int(os.environ["TRITIUM_SHARE_MIB"])
        torch.cuda.set_per_process_memory_fraction(share / device.memory_mib)
        weights = torch.full((256, 2**20), self.factor, dtype=torch.uint8, device="cuda")
        return lambda columns: columns["x"].cuda() * weights[0, 0]


def test_two_models_share_a_device_by_their_memory(rows: DataFrame, devices: tuple[Device, ...]) -> None:
    two, three = (
        tritium.predict(rows, model=Limited(factor), output="y bigint", batches="torch", share_mib=4096)
        for factor in (2, 3)
    )

    assert answers(two, "y") == {x: (2 * x,) for x in range(ROWS)}
    assert answers(three, "y") == {x: (3 * x,) for x in range(ROWS)}
    assert answers(two, "y") == {x: (2 * x,) for x in range(ROWS)}
    assert len(devices) > 1 or used_mib(devices[0]) >= 2 * 256


def used_mib(device: Device) -> int:
    (now,) = (d for d in discover(Settings.from_env(os.environ)).devices if d.uuid == device.uuid)
    return now.memory_mib - now.free_mib


def free_on_device() -> int:
    import torch

    return int(torch.cuda.mem_get_info()[0] / 2**20)


def test_a_gang_gets_the_device_with_its_memory_from_a_model_that_stays(
    rows: DataFrame, devices: tuple[Device, ...]
) -> None:
    answers(
        tritium.predict(rows, model=looking_up, output="y float", batch_size=4000, keep_s=300).limit(10), "y"
    )

    result = tritium.Gang(ranks=len(devices)).run(free_on_device)

    for free_mib, rank in zip(result.values, result.ranks, strict=True):
        assert free_mib > 0.9 * rank.devices[0].memory_mib


def make_net() -> Callable[..., Any]:
    import torch

    torch.manual_seed(3)
    net = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1)).cuda().eval()

    def predict(x: Any) -> Any:
        with torch.inference_mode():
            return (
                net(torch.tensor(np.stack([x, -x], axis=1), dtype=torch.float32).cuda()).cpu().numpy()[:, 0]
            )

    return predict


def test_what_predict_batch_udf_takes_gives_the_same_on_a_device(rows: DataFrame) -> None:
    options: dict[str, Any] = {"return_type": FloatType(), "batch_size": BATCH}
    theirs, ours = predict_batch_udf(make_net, **options), tritium.predict_udf(make_net, **options)

    found = rows.select("x", theirs("x").alias("theirs"), ours("x").alias("ours")).collect()

    assert len(found) == ROWS
    assert all(row["theirs"] == row["ours"] for row in found)
