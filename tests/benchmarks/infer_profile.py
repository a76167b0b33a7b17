"""What the profile of inference costs: how often it reads the clock per batch, and what that takes.

The functions of a user count here how often the task's process and the owner's read the clock, those
readings included that no profile needs, such as limits of waits.
"""

from __future__ import annotations

import sys
import time
import timeit
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import SparkSession

import tritium
from benchmarks.inference.measure import WIDTH, started, tensors
from tritium.infer import read_reports
from tritium.infer.profile import merged

_ROWS, _BATCH = 120_000, 1024
_TIMES = 200_000


class Counting:
    """A clock that knows how often it was read."""

    def __init__(self) -> None:
        self.read, self.count = time.monotonic, 0

    def __call__(self) -> float:
        self.count += 1
        return self.read()


def counted() -> int:
    """Return how often this process has read the clock since the first call."""
    if not isinstance(time.monotonic, Counting):
        time.monotonic = Counting()
    return time.monotonic.count


def preprocess(columns: Any) -> Any:
    return {"x": columns["x"], "task": np.full(len(columns["x"]), counted())}


def load(_: Any) -> Any:
    def predict(columns: Any) -> Any:
        owner = np.full(len(columns["x"]), counted())
        return {"y": columns["x"].sum(axis=1), "task": columns["task"], "owner": owner}

    return predict


def main() -> str:
    """Measure, and return Markdown."""
    with started() as (spark, folder):
        readings, batch_s = _readings(spark, folder)
    one_s = _reading_s()
    share = readings * one_s / batch_s
    return (
        "### Inference: what the profile costs\n"
        f"{readings:.0f} readings of the clock for a batch of {_BATCH} tensors, each {1e9 * one_s:.0f} ns "
        f"with its addition: {1e6 * readings * one_s:.1f} us of {1000 * batch_s:.2f} ms, {share:.2%}."
    )


def _readings(spark: SparkSession, folder: Path) -> tuple[float, float]:
    """Readings per batch, and the seconds of a batch."""
    rows = tensors(spark, folder / "tensors", rows=_ROWS, width=WIDTH, group=20_480)
    output = "y float, task long, owner long"
    out = tritium.predict(
        rows,
        model=load,
        preprocess=preprocess,
        keep=[],
        output=output,
        batch_size=_BATCH,
        report=folder / "report",
    )
    most = out.agg({"task": "max", "owner": "max"}).first()
    assert most is not None
    profile = merged(read_reports(folder / "report"))
    seconds = profile.seconds - profile.steps["load"]
    return (most["max(task)"] + most["max(owner)"]) / profile.batches, seconds / profile.batches


def _reading_s() -> float:
    """Seconds for reading the clock and adding up what it says, as the profile does."""

    class Sums:
        seconds = 0.0

    sums = Sums()

    def add() -> None:
        sums.seconds += time.monotonic() - sums.seconds

    return min(timeit.repeat(add, number=_TIMES, repeat=5)) / _TIMES


if __name__ == "__main__":
    from pyspark import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules["__main__"])
    print(main())
