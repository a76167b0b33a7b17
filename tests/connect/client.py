"""A client program for tests: does what it is told on stdin, one word a line, on one Connect session.

A Connect client shares no process with classic Spark, so it is one of its own. It answers each word with a
line ``{word: result}``, or ``{word: {"failed": [kind, sentence, trace]}}``.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

import tritium
from tritium.errors import TritiumError
from tritium.infer.failures import failures


def say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


def who(*, times: int = 1) -> dict[str, Any]:
    import os

    rank = tritium.rank()
    print(f"rank {rank.rank} speaks")
    rank.report(step=rank.rank)
    return {
        "rank": rank.rank,
        "devices": [device.uuid for device in rank.devices] * times,
        "visible": os.environ["CUDA_VISIBLE_DEVICES"].split(","),
        "gathered": rank.all_gather(rank.rank * 10),
    }


def gang() -> dict[str, Any]:
    reports: list[Any] = []
    lines: list[Any] = []
    began = time.monotonic()
    result = tritium.Gang(ranks=4).run(
        who, times=1, on_report=lambda *said: reports.append(said), on_line=lambda *said: lines.append(said)
    )
    return {
        "values": result.values,
        "reports": sorted((rank, values["step"]) for rank, values in reports),
        "lines": sorted(lines),
        "ranks": [(info.rank, info.executor, [d.uuid for d in info.devices]) for info in result.ranks],
        "phases": sorted(result.phases),
        "seconds": time.monotonic() - began,
    }


def data() -> list[list[int]]:
    def ids(shard: Any) -> list[int]:
        return [int(i) for i in shard.numpy()["id"]]

    return list(tritium.Gang(ranks=3).run(ids, data=spark.range(1000)).values)


def slow_data() -> int:
    def slowly(tables: Any) -> Any:
        time.sleep(75)
        yield from tables

    rows = spark.range(10, numPartitions=1).mapInArrow(slowly, "id long")
    return sum(tritium.Gang(ranks=2, launch_timeout_s=60).run(len, data=rows).values)


def gloo() -> list[float]:
    def reduce() -> float:
        import torch
        import torch.distributed as dist

        dist.init_process_group("gloo")
        number = torch.tensor([float(dist.get_rank() + 1)])
        dist.all_reduce(number)
        dist.destroy_process_group()
        return float(number.item())

    return list(tritium.Gang(ranks=2).run(reduce).values)


def bug() -> None:
    def fail() -> None:
        tritium.rank().barrier()
        if tritium.rank().rank == 1:
            raise ValueError("this rank cannot")
        time.sleep(300)

    tritium.Gang(ranks=2, name="train").run(fail)


def too_many() -> None:
    tritium.Gang(ranks=9).run(who)


def too_small() -> None:
    tritium.Gang(ranks=2, min_memory_mib=102400).run(who)


def busy() -> None:
    """Somebody else has all slots: Spark starts nothing of the gang."""

    folder = Path(os.environ["TRITIUM_DIR"])

    def hog(batches: Any) -> Any:
        import time

        from pyspark import TaskContext

        list(batches)
        context = TaskContext.get()
        assert context is not None
        (folder / f"hog-{context.partitionId()}").touch()
        time.sleep(600)
        yield from ()

    def hold() -> None:
        spark.addTag("hog")
        try:
            spark.range(0, 8, 1, 8).mapInArrow(hog, "id bigint").collect()
        except Exception as err:  # noqa: BLE001  it is interrupted below
            say(hog=str(err)[:60])

    thread = threading.Thread(target=hold)
    thread.start()
    while len(list(folder.glob("hog-*"))) < 8:
        time.sleep(0.1)
    try:
        tritium.Gang(ranks=2, launch_timeout_s=5).run(who)
    finally:
        spark.interruptTag("hog")
        thread.join()
        for file in folder.glob("hog-*"):
            file.unlink()


def sleep() -> None:
    def rest() -> None:
        import os
        import subprocess
        import time

        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        tritium.rank().barrier()
        with open(f"{os.environ['TRITIUM_DIR']}/sleeper-{tritium.rank().rank}", "w") as file:  # noqa: PTH123
            file.write(f"{os.getpid()} {child.pid}")
        time.sleep(600)

    spark.addTag("sleepers")
    sleepers.run(rest)


def hang() -> None:
    """Spark never gets to the gang's tasks, since what comes before them hangs."""

    def endless(batches: Any) -> Any:
        import time

        time.sleep(600)
        yield from batches

    rows = spark.range(10, numPartitions=1).mapInArrow(endless, "id long")
    tritium.Gang(ranks=2, timeout_s=5).run(len, data=rows)


def interrupt_all() -> list[str]:
    return [str(one) for one in spark.interruptAll()]


def interrupt_tag() -> list[str]:
    return [str(one) for one in spark.interruptTag("sleepers")]


def cancel() -> None:
    sleepers.cancel()


def resume() -> list[tuple[int, int]]:
    """Rank 1 is killed in its third step, once; the second attempt goes on from the last checkpoint."""

    def train() -> tuple[int, int]:
        import os
        import signal

        me, found = tritium.rank(), tritium.checkpoint.latest()
        first = found.step if found is not None else 0
        for step in range(first, 5):
            if (me.rank, me.attempt, step) == (1, 0, 2):
                os.kill(os.getpid(), signal.SIGKILL)
            me.barrier()
            if me.rank == 0:
                tritium.checkpoint.save(step + 1, {"state": b"what was learned"})
        return me.attempt, first

    folder = Path(os.environ["TRITIUM_DIR"]) / "checkpoints"
    return list(tritium.Gang(ranks=2, retries=1).run(train, checkpoints=folder).values)


def infer() -> list[tuple[int, str]]:
    def load(device: Any) -> Any:
        import numpy as np

        uuid = device.uuid
        return lambda rows: np.full(len(rows["id"]), uuid, object)

    frame = tritium.predict(spark.range(0, 4, 1, 4), model=load, output="uuid string")
    with failures():
        return sorted((row.id, row.uuid) for row in frame.collect())


class Doubled:
    """A class of this program: cloudpickle gives it another id in each process."""

    def of(self, column: Any) -> Any:
        return column * 2.0


def counted() -> int:
    """Predict 640 rows in 8 tasks with a model whose loads leave a file each, named by device and process."""
    folder = Path(os.environ["TRITIUM_DIR"]) / "loads"

    def load(device: Any) -> Any:
        import os
        import time

        (folder / f"{device.uuid} {os.getpid()}").touch()

        def predict(rows: Any) -> Any:
            time.sleep(0.2)
            return Doubled().of(rows["id"])

        return predict

    frame = tritium.predict(spark.range(0, 640, 1, 8), model=load, batch_size=8)
    return len({row.prediction for row in frame.collect()})


def bad_model() -> None:
    def load(device: Any) -> Any:
        raise OSError(f"no weights for {device.product}")

    with failures():
        tritium.predict(spark.range(4), model=load).collect()


def own_task() -> list[list[str]]:
    def task(batches: Any) -> Any:
        import pyarrow as pa

        list(batches)
        with tritium.devices(count=2) as devices:
            yield pa.RecordBatch.from_pydict({"uuids": [[device.uuid for device in devices]]})

    rows = spark.range(0, 2, 1, 2).mapInArrow(task, "uuids array<string>").collect()
    return [row.uuids for row in rows]


WORDS: dict[str, Callable[[], Any]] = {
    word.__name__: word
    for word in (
        gang,
        data,
        slow_data,
        gloo,
        bug,
        too_many,
        too_small,
        busy,
        sleep,
        hang,
        interrupt_all,
        interrupt_tag,
        cancel,
        resume,
        infer,
        counted,
        bad_model,
        own_task,
    )
}


def obey(word: str) -> None:
    try:
        say(**{word: WORDS[word]()})
    except TritiumError as err:
        say(**{word: {"failed": [type(err).__name__, str(err), getattr(err, "trace", "")]}})


sleepers = tritium.Gang(ranks=2, name="sleepers", silence_timeout_s=10)

if __name__ == "__main__":
    spark = SparkSession.builder.remote(os.environ["SPARK_REMOTE"]).getOrCreate()
    say(ready=True)
    for line in sys.stdin:
        if line.strip() == "sleep here":
            # Ctrl-C reaches the main thread only.
            try:
                obey("sleep")
            except KeyboardInterrupt:
                say(stopped="by Ctrl-C")
            continue
        # Words are obeyed side by side, so that one can be interrupted.
        threading.Thread(target=obey, args=[line.strip()]).start()
