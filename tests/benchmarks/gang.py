"""How fast a gang of two starts, beside TorchDistributor of the same Spark, in turn in one application."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

from pyspark.ml.torch.distributor import TorchDistributor

import tritium

_RANKS = 2
_PEERS, _OURS_PER_PEER = 3, 3


def nothing() -> int:
    return 1


def gloo() -> int:
    import torch.distributed as dist

    dist.init_process_group("gloo")
    dist.barrier()
    dist.destroy_process_group()
    return 1


def main() -> str:
    """Measure, and return a Markdown table."""
    spark = tritium.session(machine="dgx-a100", workers=2)
    began = time.perf_counter()
    tritium.Gang(ranks=_RANKS).run(gloo)
    cold_s = time.perf_counter() - began
    rows = [
        "### Gang start: 2 ranks in a warm application, local-cluster with 2 executors",
        "| function | TorchDistributor, s | Tritium, s | faster |",
        "|---|---|---|---|",
    ]
    for name, function in (("no-op", nothing), ("gloo init + barrier", gloo)):
        ours, peer = [], []
        for _ in range(_PEERS):
            peer.append(_timed(partial(_distributor().run, function)))
            ours += [_timed(partial(tritium.Gang(ranks=_RANKS).run, function)) for _ in range(_OURS_PER_PEER)]
            print(f"{name}: peer {peer[-1]:.2f} s, ours {ours[-1]:.2f} s", file=sys.stderr, flush=True)
        middle, theirs = statistics.median(ours), statistics.median(peer)
        rows.append(f"| {name} | {theirs:.2f} | {middle:.2f} | {theirs / middle:.1f}x |")
    spark.stop()
    rows.append(f"\nThe first gang of the application, with every import still to do: {cold_s:.1f} s.")
    return "\n".join(rows)


def _distributor() -> TorchDistributor:
    return TorchDistributor(num_processes=_RANKS, local_mode=False, use_gpu=False)


def _timed(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


if __name__ == "__main__":
    print(main())
