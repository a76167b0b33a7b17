"""A driver program for the fault suite: runs a gang per order, whose ranks stop in a phase to be hit there.

Orders are JSON lines on stdin: ``{"run": {...}}`` with a `Fault`'s fields, ``{"cancel": WAY}``. It says
``ready``, ``at`` (a rank is in the phase), and ``ended`` with what ``Gang.run`` returned or raised.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyspark import cloudpickle
from pyspark.sql import SparkSession

import tritium
from tritium.errors import RankFailed, TritiumError

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults import faulty_rank

cloudpickle.register_pickle_by_value(faulty_rank)
SILENCE_S = 6.0
LAUNCH_S = 60.0
GPUS = 4
"""Of each executor. A gang that is not tried again has them all: one rank on each executor."""


def say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


def run(gang: tritium.Gang, order: dict[str, Any]) -> dict[str, Any]:
    """Run one gang and say how it ended."""

    def hear(rank: int, values: Any) -> None:
        say(at={"rank": rank, **values})

    def again(error: TritiumError) -> None:
        say(retried=f"{type(error).__name__}: {error}")

    kept = Path(order["folder"], "kept") if gang.retries else None
    try:
        result = gang.run(faulty_rank.work, on_report=hear, on_retry=again, checkpoints=kept, order=order)
    except TritiumError as err:
        trace = err.trace if isinstance(err, RankFailed) else ""
        return {"error": type(err).__name__, "text": str(err), "trace": trace}
    except KeyboardInterrupt:
        return {"error": "KeyboardInterrupt", "text": "interrupted"}
    except Exception as err:  # noqa: BLE001  the suite wants to know whatever comes
        return {"error": f"{type(err).__name__} (not ours)", "text": str(err)[:500]}
    return {"error": "", "text": "", "values": list(result.values)}


def settle(spark: SparkSession) -> None:
    """Let Spark find out which of its Python processes are gone, in tasks that it tries again by itself."""
    spark.range(0, 8, 1, 8).mapInArrow(lambda batches: batches, "id long").count()


def main() -> None:  # noqa: C901  one branch for each order
    """Obey until stdin ends."""
    settings = {
        "spark.network.timeout": "20s",
        "spark.network.timeoutInterval": "2s",
        "spark.executor.heartbeatInterval": "3s",
        "spark.executorEnv.TRITIUM_PREIMPORT": "pyspark.cloudpickle,tritium.train.rank_process",
    }
    spark = tritium.session(
        machine="dgx-a100", workers=2, gpus=GPUS, conf=settings, log=Path(sys.argv[1]) / "spark.log"
    )
    gang = tritium.Gang(
        ranks=2, gpus_per_rank=GPUS, name="faults", silence_timeout_s=SILENCE_S, launch_timeout_s=LAUNCH_S
    )
    # What stands still keeps its devices, and the next attempt has others.
    patient = replace(gang, gpus_per_rank=1, retries=1)
    orders: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            match json.loads(line):
                case {"cancel": "gang"}:
                    gang.cancel()
                case {"cancel": "group"}:
                    spark.sparkContext.cancelJobGroup("faults")
                case {"cancel": "jobs"}:
                    spark.sparkContext.cancelAllJobs()
                case {"run": order}:
                    orders.put(order)
                case {"settle": True}:
                    settle(spark)
                    say(settled=True)
                case other:
                    raise ValueError(f"unknown order {other}")
        orders.put(None)

    threading.Thread(target=listen, daemon=True).start()
    # The first tasks of an application may take half a minute where there is much else to do.
    tritium.Gang(ranks=2, gpus_per_rank=GPUS).run(int)
    say(ready=True)
    while True:
        try:
            if (order := orders.get()) is None:
                break
            spark.sparkContext.setJobGroup("faults", "fault suite")
            say(ended=run(patient if order["retried"] else gang, order))
        except KeyboardInterrupt:
            say(ended={"error": "KeyboardInterrupt", "text": "interrupted"})
    spark.stop()


if __name__ == "__main__":
    main()
