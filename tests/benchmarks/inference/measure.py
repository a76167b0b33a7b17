"""What the benchmarks of inference share: one slot, files of random rows, and runs that take turns."""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession

import tritium
from tritium.infer import read_reports
from tritium.infer.profile import Profile, merged, table

__all__ = ["WIDTH", "Taken", "consumed", "in_turn", "profiled", "rates", "started", "tensors", "written"]

WIDTH = 784
_ROUNDS = 3
_MARK = "TRITIUM_BENCHMARK"
"""In the environment of every process that takes part, however far from this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What one way took, the median of its rounds."""

    wall_s: float
    cpu_s: float
    """Of all processes."""


@contextmanager
def started(machine: str | None = "one-gpu", *, cores: int = 1) -> Iterator[tuple[SparkSession, Path]]:
    """Start Spark with one core and one emulated device, or with others; gives a folder too."""
    os.environ[_MARK] = str(os.getpid())
    whole = {f"spark.sql.files.{name}": "1g" for name in ("maxPartitionBytes", "openCostInBytes")}
    with TemporaryDirectory() as folder:
        spark = tritium.session(
            machine=machine, workers=1, cores=cores, memory_mib=2048, conf=whole if cores > 1 else {}
        )
        try:
            yield spark, Path(folder)
        finally:
            spark.stop()


def tensors(
    spark: SparkSession, path: Path, *, rows: int, width: int, group: int, tasks: int = 1
) -> DataFrame:
    """Write rows of random float32, to be read by so many tasks."""
    values = np.random.default_rng(7).random(rows * width, dtype=np.float32)
    offsets = pa.array(np.arange(0, rows * width + 1, width, dtype=np.int32))
    column = pa.ListArray.from_arrays(offsets, pa.array(values))
    return written(spark, path, column, group=group, tasks=tasks)


def written(spark: SparkSession, path: Path, column: pa.Array, *, group: int, tasks: int = 1) -> DataFrame:
    """Write a column into files of equal length, each to be read by one task."""
    path.mkdir()
    each = len(column) // tasks
    for n in range(tasks):
        part = pa.table({"x": column.slice(n * each, each)})
        file = path / f"{n}.parquet"
        pq.write_table(part, file, row_group_size=group, compression="none", use_dictionary=False)
    return spark.read.parquet(str(path)).coalesce(tasks)


def consumed(frame: DataFrame) -> None:
    """Compute all rows and drop them."""
    frame.write.format("noop").mode("overwrite").save()


def in_turn(runs: Mapping[str, Callable[[], Any]], *, rounds: int = _ROUNDS) -> dict[str, Taken]:
    """Run each once to warm up, then in turn."""
    for run in runs.values():
        run()
    walls: dict[str, list[float]] = {name: [] for name in runs}
    cpus: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            before, began = _cpu_s(), time.perf_counter()
            run()
            walls[name].append(time.perf_counter() - began)
            cpus[name].append(_cpu_s() - before)
            told = f"{name}: {walls[name][-1]:.2f} s, {cpus[name][-1]:.2f} s of CPU"
            print(f"{told}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    return {
        name: Taken(wall_s=statistics.median(walls[name]), cpu_s=statistics.median(cpus[name]))
        for name in runs
    }


def profiled(
    theirs: DataFrame, ours: DataFrame, report: Path, *, rounds: int = _ROUNDS
) -> tuple[tuple[Taken, Taken], Profile]:
    """Compute the peer's rows and ours in turn; tells, and prints, where the time of ours went."""
    taken = in_turn(
        {"predict_batch_udf": lambda: consumed(theirs), "tritium.predict": lambda: consumed(ours)},
        rounds=rounds,
    )
    profile = merged(read_reports(report))
    print(table(profile), file=sys.stderr, flush=True)
    return (taken["predict_batch_udf"], taken["tritium.predict"]), profile


def rates(rows: int, taken: Mapping[str, Taken]) -> list[str]:
    """Set rows per second as a table; the first is the peer."""
    peer, *_ = taken.values()
    return [
        "| | rows/s | times as fast | CPU, s |",
        "|---|---|---|---|",
        *(
            f"| {name} | {rows / one.wall_s:,.0f} | {peer.wall_s / one.wall_s:.2f} | {one.cpu_s:.1f} |"
            for name, one in taken.items()
        ),
    ]


def _cpu_s() -> float:
    """CPU seconds of this process and of all that it started: owners of models are nobody's children."""
    total = 0.0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(_MARK) == os.environ[_MARK] or process.pid == os.getpid():
                times = process.cpu_times()
                total += times.user + times.system
    return total
