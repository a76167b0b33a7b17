"""Shows what a run led to: as text for people, as data for programs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tritium.pipeline.report import Story
from tritium.pipeline.results import DeviceUse, Predicted, Trained
from tritium.pipeline.table import table

__all__ = ["as_data", "as_text"]


def as_text(story: Story) -> str:
    """Return the tables and the numbers."""
    blocks: list[list[str]] = []
    records = story.run.records
    if (train := records.get("train")) is not None and train.trained is not None:
        blocks.append(table(("rank", "executor", "device", "product"), _ranks(train.trained)))
    if (infer := records.get("infer")) is not None and infer.predicted is not None:
        head = ("inference task", "executor", "device", "product", "rows", "rows/s")
        blocks.append(table(head, _tasks(infer.predicted)))
    numbers: list[tuple[str, str]] = []
    if (verify := records.get("verify")) is not None and verify.verified is not None:
        numbers += [(f"verified {name}", f"{value:.4g}") for name, value in verify.verified.metrics.items()]
    if infer is not None and infer.predicted is not None:
        numbers.append(("rows predicted", f"{infer.predicted.rows:,}"))
        numbers.append(("rows/s once loaded", f"{infer.predicted.rows_per_s:,.0f}"))
        if infer.predicted.profile is not None:
            numbers.append(("reading", infer.predicted.profile.reading))
            numbers.append(("bottleneck", infer.predicted.profile.bottleneck))
        if story.pipeline.infer is not None:
            numbers.append(("predictions", str(story.pipeline.infer.sink.path)))
    width = max((len(name) for name, _ in numbers), default=0)
    blocks.append([f"{name:<{width}}  {value}" for name, value in numbers])
    return "\n\n".join("\n".join(block) for block in blocks if block)


def as_data(story: Story, *, report: Path) -> dict[str, Any]:
    """Return everything that the report shows; metrics that are no numbers (NaN) become ``null``."""
    return {
        "pipeline": story.pipeline.name,
        "emulatedMachine": story.machine,
        "ranNow": list(story.run.done_now),
        "error": None if story.run.error is None else str(story.run.error),
        "report": str(report),
        "stages": {stage: _finite(asdict(record)) for stage, record in story.run.records.items()},
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _ranks(trained: Trained) -> Iterator[tuple[str, ...]]:
    for rank in trained.ranks:
        for uuid, product in _named(rank.devices):
            yield str(rank.rank), rank.executor, uuid, product


def _tasks(predicted: Predicted) -> Iterator[tuple[str, ...]]:
    for task in predicted.tasks:
        speed = f"{task.rows_per_s:,.0f}"
        for uuid, product in _named(task.devices):
            yield str(task.task), task.executor, uuid, product, f"{task.rows:,}", speed


def _named(devices: Sequence[DeviceUse]) -> Sequence[tuple[str, str]]:
    return [(device.uuid, device.product) for device in devices] or [("CPU", "-")]
