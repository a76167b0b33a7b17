"""How busy a real GPU is while the CPU preprocesses for it, beside predict_batch_udf; needs torchvision too.

Tensors go through a net that keeps the device for some 30 ms a batch, photographs through a ResNet-50; with
one core, and with eight, where predict_batch_udf loads the model once for each of them.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import FloatType

import tritium
from benchmarks.inference.measure import WIDTH, profiled, started, tensors, written
from tritium_discovery import DiscoveryError, Settings, discover

_CORES = (1, 8)
_TENSORS, _TENSOR_BATCH, _SHARPENED = 245_760, 2048, 6
_LAYERS, _LAYER = 64, 8192
_PHOTOGRAPHS = {1: 2048, 8: 8192}
"""By cores: decoding one takes the CPU some milliseconds."""
_PHOTOGRAPH_BATCH, _SIDE = 128, 224


def sharpened(x: Any) -> Any:
    """Tensors after some rounds of arithmetic."""
    x = (x - 0.5) / 0.25
    for _ in range(_SHARPENED):
        x = np.sqrt(x * x + 1.0)
    return x


def decoded(files: Sequence[bytes]) -> Any:
    """Photographs as pictures of three bytes a pixel."""
    from PIL import Image

    pictures = (Image.open(io.BytesIO(file)).convert("RGB").resize((_SIDE, _SIDE)) for file in files)
    return np.stack([np.asarray(picture) for picture in pictures])


def deep() -> Callable[[Any], Any]:
    """Load a net of equal layers of bfloat16 onto the device; it answers with one number a row."""
    import torch

    layer = torch.full((_LAYER, _LAYER), 1 / _LAYER, dtype=torch.bfloat16, device="cuda")

    def predict(x: Any) -> Any:
        y = torch.zeros((len(x), _LAYER), dtype=torch.bfloat16, device="cuda")
        y[:, :WIDTH] = torch.from_numpy(x).cuda()
        for _ in range(_LAYERS):
            y = torch.relu(y @ layer)
        return y[:, 0].float().cpu().numpy()

    return predict


def resnet() -> Callable[[Any], Any]:
    """Load a ResNet-50 in bfloat16 with random weights; it answers with the number of a class."""
    import torch

    last: Any = torch.channels_last
    net = import_module("torchvision").models.resnet50().eval().to("cuda", torch.bfloat16, memory_format=last)

    def predict(x: Any) -> Any:
        with torch.inference_mode():
            pictures = torch.from_numpy(x).cuda().permute(0, 3, 1, 2).to(torch.bfloat16, memory_format=last)
            return net(pictures / 255).argmax(dim=1).float().cpu().numpy()

    return predict


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is predicted."""

    what: str
    rows: DataFrame
    count: int
    batch: int
    shapes: list[list[int] | None] | None
    prepared: Callable[[Any], Any]
    model: Callable[[], Callable[[Any], Any]]

    def theirs(self) -> DataFrame:
        """Preprocess and predict in the task, one after the other."""
        prepared, model = self.prepared, self.model

        def make() -> Callable[[Any], Any]:
            predict = model()
            return lambda x: predict(prepared(x))

        udf = predict_batch_udf(
            make, return_type=FloatType(), batch_size=self.batch, input_tensor_shapes=self.shapes
        )
        return self.rows.select(udf("x"))

    def ours(self, report: Path) -> DataFrame:
        """Preprocess in the tasks, ahead of the one process that has the model."""
        prepared, model = self.prepared, self.model

        def load(_: Any) -> Callable[[Mapping[str, Any]], Any]:
            predict = model()
            return lambda columns: predict(columns["x"])

        return tritium.predict(
            self.rows,
            model=load,
            preprocess=lambda columns: {"x": prepared(columns["x"])},
            keep=[],
            output="y float",
            batch_size=self.batch,
            report=report,
        )


def main() -> str:
    """Measure, and return a Markdown table; nothing where there is no GPU."""
    try:
        devices = discover(Settings.from_env(os.environ)).devices
    except DiscoveryError as err:
        print(f"not measured: {err}", file=sys.stderr)
        return ""
    lines = [line for cores in _CORES for line in _on(cores)]
    return f"""### Inference on a GPU: {devices[0].product}
| rows | cores | CPU, ms a batch | GPU, ms a batch | predict_batch_udf, rows/s | tritium.predict, rows/s \
| times as fast | GPU busy | CPU, s |
|---|---|---|---|---|---|---|---|---|
{chr(10).join(lines)}

GPU busy, and the CPU time of all processes, are predict_batch_udf's and ours, of the whole job. It loads
the model once for each core, we once."""


def _on(cores: int) -> Iterator[str]:
    with started(machine=None, cores=cores) as (spark, folder):
        for job in (_deep(spark, folder, cores), _photographs(spark, folder, cores)):
            yield _compared(job, cores, folder / job.what)


def _deep(spark: SparkSession, folder: Path, cores: int) -> Job:
    rows = tensors(spark, folder / "tensors", rows=_TENSORS, width=WIDTH, group=20_480, tasks=cores)
    return Job(
        what=f"tensors of {WIDTH} float32, {_TENSOR_BATCH} a batch, {_SHARPENED} rounds",
        rows=rows,
        count=_TENSORS,
        batch=_TENSOR_BATCH,
        shapes=[[WIDTH]],
        prepared=sharpened,
        model=deep,
    )


def _photographs(spark: SparkSession, folder: Path, cores: int) -> Job:
    from PIL import Image

    random, count, files = np.random.default_rng(3), _PHOTOGRAPHS[cores], []
    for _ in range(64):
        file = io.BytesIO()
        rough = Image.fromarray(random.integers(0, 255, (47, 63, 3), dtype=np.uint8))
        rough.resize((500, 375)).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    column = pa.array(files * (count // len(files)))
    return Job(
        what=f"JPEG files of 500 x 375, {_PHOTOGRAPH_BATCH} a batch, ResNet-50",
        rows=written(spark, folder / "photographs", column, group=512, tasks=cores),
        count=count,
        batch=_PHOTOGRAPH_BATCH,
        shapes=None,
        prepared=decoded,
        model=resnet,
    )


def _compared(job: Job, cores: int, report: Path) -> str:
    taken, profile = profiled(job.theirs(), job.ours(report), report, rounds=2)
    theirs_s, ours_s = (one.wall_s for one in taken)
    cpu_ms, gpu_ms = (1000 * profile.steps[step] / profile.batches for step in ("preprocess", "predict"))
    busy = [f"{profile.steps['predict'] / one.wall_s:.0%}" for one in taken]
    return (
        f"| {job.count:,} {job.what} | {cores} | {cpu_ms:.0f} | {gpu_ms:.0f} | {job.count / theirs_s:,.0f} "
        f"| {job.count / ours_s:,.0f} | {theirs_s / ours_s:.2f} | {', '.join(busy)} "
        f"| {', '.join(f'{one.cpu_s:.1f}' for one in taken)} |"
    )


if __name__ == "__main__":
    from pyspark import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules["__main__"])
    print(main())
