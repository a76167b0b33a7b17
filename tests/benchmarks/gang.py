"""How fast a gang of two starts, beside TorchDistributor of the same Spark, in turn in one application.

Without a word on classic Spark. With ``connect`` through a Spark Connect server, whose client is a process of
its own; the program calls itself for that.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.sql import SparkSession

import tritium

sys.path.append(str(Path(__file__).parents[1]))

_RANKS = 2
_PEERS, _OURS_PER_PEER = 3, 3
_MACHINE = {"TRITIUM_MACHINE": "dgx-a100"}
_LIMIT_S = 1800


def nothing() -> int:
    return 1


def gloo() -> int:
    import torch.distributed as dist

    dist.init_process_group("gloo")
    dist.barrier()
    dist.destroy_process_group()
    return 1


def main() -> str:
    """Measure both, and return Markdown tables."""
    spark = tritium.session(machine="dgx-a100", workers=2)
    classic = compared("### Gang start: 2 ranks in a warm application, local-cluster with 2 executors")
    spark.stop()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("TRITIUM_DIR", folder)
        return f"{classic}\n\n{_through_connect(Path(folder))}"


def compared(title: str) -> str:
    """Measure on the session of this process."""
    began = time.perf_counter()
    tritium.Gang(ranks=_RANKS).run(gloo)
    cold_s = time.perf_counter() - began
    rows = [title, "| function | TorchDistributor, s | Tritium, s | faster |", "|---|---|---|---|"]
    for name, function in (("no-op", nothing), ("gloo init + barrier", gloo)):
        ours, peer = [], []
        for _ in range(_PEERS):
            peer.append(_timed(partial(_distributor().run, function)))
            ours += [_timed(partial(tritium.Gang(ranks=_RANKS).run, function)) for _ in range(_OURS_PER_PEER)]
            print(f"{name}: peer {peer[-1]:.2f} s, ours {ours[-1]:.2f} s", file=sys.stderr, flush=True)
        middle, theirs = statistics.median(ours), statistics.median(peer)
        rows.append(f"| {name} | {theirs:.2f} | {middle:.2f} | {theirs / middle:.1f}x |")
    rows.append(f"\nThe first gang of the application, with every import still to do: {cold_s:.1f} s.")
    return "\n".join(rows)


def _through_connect(folder: Path) -> str:
    from rigs.connect import ConnectServer

    script = str(Path(sys.executable).with_name("gpu-discover"))
    conf = tritium.conf("local", cores=2, gpus=4, memory_mib=1024, discovery_script=script)
    with ConnectServer(folder, conf=conf, environ=_MACHINE) as server:
        client = subprocess.run(
            [sys.executable, __file__, "connect"],
            env={**os.environ, "SPARK_REMOTE": server.url},
            stdout=subprocess.PIPE,
            text=True,
            timeout=_LIMIT_S,
            check=True,
        )
    return client.stdout.strip()


def _connected() -> str:
    SparkSession.builder.remote(os.environ["SPARK_REMOTE"]).getOrCreate()
    return compared("### The same through Spark Connect")


def _distributor() -> TorchDistributor:
    return TorchDistributor(num_processes=_RANKS, local_mode=False, use_gpu=False)


def _timed(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


if __name__ == "__main__":
    print(_connected() if "connect" in sys.argv else main())
