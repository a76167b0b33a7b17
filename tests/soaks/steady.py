"""A stream at a steady rate: Kafka through a model to Kafka; throughput, and the time from message to answer.

``python tests/soaks/steady.py [SECONDS] [MESSAGES PER SECOND]`` from the repository's root.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import psutil
from confluent_kafka import Consumer, Producer
from pyspark import cloudpickle

import tritium
from rigs.jars import KAFKA, for_spark
from rigs.kafka import broker
from rigs.processes import eventually
from tritium.streams import Bytes, Kafka, KafkaSource, Stream

cloudpickle.register_pickle_by_value(sys.modules[__name__])
_ELEMENTS = 64
_SAMPLE_S = 10.0
_LATE_S = 60.0
_START_LIMIT_S = 300.0


def mean(_: Any) -> Any:
    return lambda batch: batch["value"].mean(axis=1)


def send(servers: str, seconds: float, rate: int) -> int:
    """Send tensors, each with the time at which it was sent."""
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 5})
    value = np.arange(_ELEMENTS, dtype=np.float32).tobytes()
    began, sent = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        while sent < passed * rate:
            producer.produce("in", value, headers={"sent": repr(time.time()).encode()})
            sent += 1
            producer.poll(0)
        time.sleep(0.005)
    producer.flush(_LATE_S)
    return sent


class Answers(threading.Thread):
    """Reads the answers as they come."""

    def __init__(self, servers: str) -> None:
        super().__init__(daemon=True)
        self.delays: list[float] = []
        self.over = threading.Event()
        self._consumer = Consumer(
            {"bootstrap.servers": servers, "group.id": "answers", "auto.offset.reset": "earliest"}
        )
        self._consumer.subscribe(["out"])

    def run(self) -> None:
        while not self.over.is_set():
            for message in self._consumer.consume(1000, 0.2):
                if message.error() is None:
                    self.delays.append(time.time() - float(dict(message.headers() or [])["sent"] or b"nan"))
        self._consumer.close()


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What there was at one time; memory in MiB, resident."""

    behind: int
    python: int
    java: int
    shm: int

    @classmethod
    def now(cls, behind: int) -> Sample:
        """Look at the processes of the application and at /dev/shm."""
        mib = {True: 0, False: 0}
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                mib[process.name() == "java"] += process.memory_info().rss >> 20
        shm = psutil.disk_usage("/dev/shm").used >> 20
        return cls(behind=behind, python=mib[False], java=mib[True], shm=shm)


def watched(answers: Answers, stream: Stream, servers: str, *, seconds: float, rate: int) -> Any:
    """Send for so long, look now and then, and wait for the last answers; return what was sent and seen."""
    sent: list[int] = []
    samples: list[Sample] = []
    sender = threading.Thread(target=lambda: sent.append(send(servers, seconds, rate)))
    began = time.monotonic()
    sender.start()
    while sender.is_alive():
        sender.join(_SAMPLE_S)
        due = int(min(time.monotonic() - began, seconds) * rate)
        samples.append(Sample.now(due - len(answers.delays)))
        print(len(answers.delays), samples[-1], stream.progress(), file=sys.stderr, flush=True)
    late = time.monotonic() + _LATE_S
    while len(answers.delays) < sent[0] and time.monotonic() < late:
        time.sleep(0.1)
    return sent[0], samples


def main(seconds: float, rate: int) -> str:
    """Run it, and return Markdown."""
    spark = tritium.session("two-t4", workers=1, cores=2, conf={"spark.jars": for_spark(KAFKA)})
    with tempfile.TemporaryDirectory() as folder, broker(Path(folder) / "kafka") as kafka:
        kafka.create("in", "out")
        answers = Answers(kafka.servers)
        answers.start()
        stream = tritium.stream(
            KafkaSource(servers=kafka.servers, topic="in"),
            model=mean,
            sink=Kafka(servers=kafka.servers, topic="out"),
            checkpoint=Path(folder) / "checkpoint",
            decode=Bytes(dtype="float32", shape=(_ELEMENTS,)),
            every_s=0.5,
        )
        with stream:
            first = send(kafka.servers, 1, 10)
            eventually(lambda: len(answers.delays) == first, limit_s=_START_LIMIT_S)
            start_s = max(answers.delays)
            answers.delays.clear()
            sent, samples = watched(answers, stream, kafka.servers, seconds=seconds, rate=rate)
        answers.over.set()
        answers.join()
    spark.stop()
    words = said(sent, start_s=start_s, delays=answers.delays, samples=samples)
    return f"{seconds:.0f} s at {rate} messages/s: {words}"


def said(sent: int, *, start_s: float, delays: list[float], samples: list[Sample]) -> str:
    """Put it into words."""
    cuts = statistics.quantiles(delays, n=100)
    behind = [sample.behind for sample in samples]
    settled = samples[len(samples) // 10]
    memory = ", ".join(
        f"{name} {getattr(settled, name)} and {getattr(samples[-1], name)}"
        for name in ("python", "java", "shm")
    )
    return (
        f"{sent} messages of {_ELEMENTS} float32 sent, {len(delays)} answered; "
        f"from message to answer {cuts[49]:.2f} s median, {cuts[94]:.2f} s p95, {max(delays):.2f} s at most, "
        f"and {start_s:.2f} s for the very first, while the stream started; messages not answered yet, "
        f"sampled: {statistics.median(behind):.0f} median, {max(behind)} at most; "
        f"MiB after a tenth of the time and at the end: {memory}"
    )


if __name__ == "__main__":
    print(
        main(
            float(sys.argv[1]) if len(sys.argv) > 1 else 600.0,
            int(sys.argv[2]) if len(sys.argv) > 2 else 1000,
        )
    )
