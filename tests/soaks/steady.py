"""A stream at a steady rate: Kafka through a model to Kafka; throughput, and the time from message to answer.

``python tests/soaks/steady.py [SECONDS] [MESSAGES PER SECOND]`` from the repository's root.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from confluent_kafka import Consumer, Producer
from pyspark import cloudpickle

import tritium
from rigs.jars import KAFKA, for_spark
from rigs.kafka import broker
from rigs.processes import eventually
from tritium.streams import Bytes, Kafka, KafkaSource

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


def main(seconds: float, rate: int) -> str:
    """Run it, and return Markdown."""
    spark = tritium.session("two-t4", workers=1, cores=2, conf={"spark.jars": for_spark(KAFKA)})
    behind: list[int] = []
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
        sent: list[int] = []
        sender = threading.Thread(target=lambda: sent.append(send(kafka.servers, seconds, rate)))
        with stream:
            first = send(kafka.servers, 1, 10)
            eventually(lambda: len(answers.delays) == first, limit_s=_START_LIMIT_S)
            answers.delays.clear()
            began = time.monotonic()
            sender.start()
            while sender.is_alive():
                sender.join(_SAMPLE_S)
                behind.append(int(min(time.monotonic() - began, seconds) * rate) - len(answers.delays))
                print(len(answers.delays), stream.progress(), file=sys.stderr, flush=True)
            late = time.monotonic() + _LATE_S
            while len(answers.delays) < sent[0] and time.monotonic() < late:
                time.sleep(0.1)
        answers.over.set()
        answers.join()
    spark.stop()
    cuts = statistics.quantiles(answers.delays, n=100)
    return (
        f"{seconds:.0f} s at {rate} messages/s of {_ELEMENTS} float32: {sent[0]} sent, "
        f"{len(answers.delays)} answered; from message to answer {cuts[49]:.2f} s median, "
        f"{cuts[94]:.2f} s p95, {max(answers.delays):.2f} s at most; "
        f"messages not answered yet, sampled: {statistics.median(behind):.0f} median, {max(behind)} at most"
    )


if __name__ == "__main__":
    print(
        main(
            float(sys.argv[1]) if len(sys.argv) > 1 else 600.0,
            int(sys.argv[2]) if len(sys.argv) > 2 else 1000,
        )
    )
