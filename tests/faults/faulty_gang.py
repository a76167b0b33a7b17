"""A driver program for the fault suite: runs a gang per order, whose ranks stop in a phase to be hit there.

Orders are JSON lines on stdin: ``{"run": {...}}`` with a `Fault`'s fields, ``{"cancel": WAY}``. It says
``ready``, ``at`` (a rank is in the phase), and ``ended`` with what ``Gang.run`` returned or raised.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

import tritium
from tritium.errors import RankFailed, TritiumError

SILENCE_S = 6.0
LAUNCH_S = 60.0


def say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


def work(order: dict[str, Any]) -> str:  # noqa: C901  one function that travels alone
    """Go through the phases of a training, and stay in one until told to go on."""
    import fcntl
    import os
    import signal
    import subprocess
    import sys
    import time
    from pathlib import Path

    import tritium

    if order["deaf"]:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    rank, place = tritium.rank(), Path(order["folder"])
    locks = [os.open(place.parent / f"witness-{d.uuid}", os.O_RDWR | os.O_CREAT) for d in rank.devices]
    for lock, device in zip(locks, rank.devices, strict=True):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            (place.parent / f"double-{order['token']}-{device.uuid}").touch()
    # A grandchild that hides, and keeps the devices as a forked data loader does.
    script = "import os, time; os.fork() and os._exit(0); print(os.getpid(), flush=True); time.sleep(300)"
    hidden = subprocess.Popen(
        [sys.executable, "-c", script], start_new_session=True, stdout=subprocess.PIPE, pass_fds=locks
    )
    assert hidden.stdout is not None
    child = int(hidden.stdout.readline())

    def fail() -> None:
        if order["kind"] == "exit":
            os._exit(7)
        raise ValueError("injected")

    # At the rendezvous one waits where the other does not come; whoever fails by itself has to be that other.
    fails = order["kind"] in ("exit", "exception")
    waits = rank.rank not in order["victims"] if fails else rank.rank == 0

    def enter(phase: str) -> None:
        if phase != order["phase"]:
            return
        rank.report(phase=phase, pid=os.getpid(), hidden=child)
        if phase == "rendezvous" and waits:
            return
        while not (place / "go").exists():
            if rank.rank in order["victims"] and (place / order["kind"]).exists():
                fail()
            if phase == "checkpoint":
                (place / f"checkpoint-{rank.rank}").write_bytes(os.urandom(1 << 16))
            time.sleep(0.01)

    for phase in ("start", "rendezvous", "step", "checkpoint", "end"):
        enter(phase)
        if phase == "rendezvous":
            rank.barrier()
    return str(order["token"])


def run(gang: tritium.Gang, order: dict[str, Any]) -> dict[str, Any]:
    """Run one gang and say how it ended."""

    def hear(rank: int, values: Any) -> None:
        say(at={"rank": rank, **values})

    try:
        result = gang.run(work, on_report=hear, order=order)
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
        machine="dgx-a100", workers=2, gpus=2, conf=settings, log=Path(sys.argv[1]) / "spark.log"
    )
    gang = tritium.Gang(
        ranks=2, gpus_per_rank=2, name="faults", silence_timeout_s=SILENCE_S, launch_timeout_s=LAUNCH_S
    )
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
    tritium.Gang(ranks=2, gpus_per_rank=2).run(int)
    say(ready=True)
    while True:
        try:
            if (order := orders.get()) is None:
                break
            spark.sparkContext.setJobGroup("faults", "fault suite")
            say(ended=run(gang, order))
        except KeyboardInterrupt:
            say(ended={"error": "KeyboardInterrupt", "text": "interrupted"})
    spark.stop()


if __name__ == "__main__":
    main()
