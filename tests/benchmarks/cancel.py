"""How soon a cancelled gang is gone, beside TorchDistributor of the same Spark in one application."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.sql import SparkSession

import tritium
from rigs.processes import survivors

_RANKS = 2
_RUNS = 3
_KINDS = (
    ("end when asked to", False, False),
    ("ignore SIGTERM", True, False),
    ("end, but have a child in a session of its own", False, True),
)
"""What they are like: by name, whether they ignore SIGTERM, whether each has such a child."""
_GONE_LIMIT_S = 20.0
_START_LIMIT_S = 120.0


def main() -> str:
    """Measure, and return a Markdown table."""
    spark = tritium.session(machine="dgx-a100", workers=2)
    tritium.Gang(ranks=_RANKS).run(int)
    table = _cancels(spark)
    spark.stop()
    return "\n".join(table)


def sleep(folder: str, *, deaf: bool, child: bool) -> None:
    """Leave process ids behind and stay."""
    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if child:
        started = subprocess.Popen(["sleep", "600"], start_new_session=True)
        (Path(folder) / str(started.pid)).touch()
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)


def _cancels(spark: SparkSession) -> list[str]:
    """Measure from the cancel of a job until every process of its ranks is gone."""
    rows = [
        "### Cancel: from the cancel of the job until every process is gone, same application",
        "| ranks | TorchDistributor, s | Tritium, s | faster |",
        "|---|---|---|---|",
    ]
    for name, deaf, child in _KINDS:
        ways = {"deaf": deaf, "child": child}
        runs = {
            "peer": lambda folder, ways=ways: _distributor().run(sleep, folder, **ways),
            "ours": lambda folder, ways=ways: tritium.Gang(ranks=_RANKS).run(sleep, folder=folder, **ways),
        }
        took = {}
        for who, run in runs.items():
            processes = _RANKS * (1 + child)
            took[who] = statistics.median(_gone_s(spark, run, processes=processes) for _ in range(_RUNS))
        theirs, limit = took["peer"], took["peer"] >= _GONE_LIMIT_S
        times = f"{theirs / took['ours']:.1f}x"
        said = f"never (looked for {_GONE_LIMIT_S:.0f} s)" if limit else f"{theirs:.2f}"
        rows.append(f"| {name} | {said} | {took['ours']:.2f} | {'more than ' if limit else ''}{times} |")
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def _gone_s(spark: SparkSession, run: Callable[[str], object], *, processes: int) -> float:
    """Seconds until the ranks are gone, or the limit; then they are killed."""
    with tempfile.TemporaryDirectory() as folder:

        def work() -> None:
            with contextlib.suppress(Exception):  # that it was cancelled
                run(folder)

        thread = threading.Thread(target=work)
        thread.start()
        give_up_at = time.monotonic() + _START_LIMIT_S
        while len(pids := list(Path(folder).iterdir())) < processes:
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"no ranks within {_START_LIMIT_S:.0f} s")
            time.sleep(0.05)
        ranks = [psutil.Process(int(path.name)) for path in pids]
        began = time.perf_counter()
        spark.sparkContext.cancelAllJobs()
        left = survivors(ranks, within_s=_GONE_LIMIT_S)
        took_s = time.perf_counter() - began
        for rank in left:
            rank.kill()
        thread.join()
    return min(took_s, _GONE_LIMIT_S)


def _distributor() -> TorchDistributor:
    return TorchDistributor(num_processes=_RANKS, local_mode=False, use_gpu=False)


if __name__ == "__main__":
    print(main())
