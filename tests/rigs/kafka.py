"""Rig: a real Kafka broker of one node, out of Maven Central's jars, on ports of its own."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # not in its __all__

from rigs.jars import KAFKA_BROKER, fetch
from tritium.spark.java import find_java

__all__ = ["Broker", "broker"]

_START_LIMIT_S = 120.0
_ANSWER_LIMIT_S = 60.0
_CLUSTER = "dHJpdGl1bS1vbmUtbm9kZQ"
"""Base64 of 16 bytes; a random one may begin with a dash, which the tool takes for an option."""
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={folder}/logs
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=2
log.cleaner.dedupe.buffer.size=10485760
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """A broker that listens."""

    servers: str

    def create(self, *topics: str, partitions: int = 2) -> None:
        """Create topics."""
        admin = AdminClient({"bootstrap.servers": self.servers})
        made = admin.create_topics([NewTopic(topic, partitions, 1) for topic in topics])
        for future in made.values():
            future.result(_ANSWER_LIMIT_S)

    def produce(
        self,
        topic: str,
        values: Sequence[bytes | None],
        *,
        keys: Sequence[bytes] | None = None,
        headers: Mapping[str, bytes] | None = None,
    ) -> None:
        """Send messages and wait until the broker has them."""
        producer = Producer({"bootstrap.servers": self.servers, "enable.idempotence": True})
        for at, value in enumerate(values):
            key = keys[at] if keys is not None else str(at).encode()
            producer.produce(topic, value=value, key=key, headers=dict(headers or {}))
            if at % 1000 == 0:
                producer.poll(0)
        assert producer.flush(_ANSWER_LIMIT_S) == 0

    def messages(self, topic: str) -> list[tuple[Any, Any, dict[str, Any]]]:
        """Return all that a topic holds now: key, value out of JSON, headers."""
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": uuid.uuid4().hex})
        with contextlib.closing(consumer):
            known = consumer.list_topics(topic, timeout=_ANSWER_LIMIT_S).topics[topic].partitions
            parts = [TopicPartition(topic, number, 0) for number in known]
            ends = [consumer.get_watermark_offsets(part, timeout=_ANSWER_LIMIT_S)[1] for part in parts]
            consumer.assign(parts)
            found: list[tuple[Any, Any, dict[str, Any]]] = []
            deadline = time.monotonic() + _ANSWER_LIMIT_S
            while len(found) < sum(ends):
                assert time.monotonic() < deadline, f"{len(found)} of {sum(ends)} messages"
                message = consumer.poll(1.0)
                if message is not None and message.error() is None:
                    value = message.value()
                    headers = dict(message.headers() or [])
                    found.append((message.key(), json.loads(value) if value else None, headers))
            return found


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[Broker]:
    """Run a broker for the block, with its files in ``folder``."""
    port, controller = _free_ports(2)
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "server.properties"
    settings.write_text(_PROPERTIES.format(port=port, controller=controller, folder=folder))
    java = [
        str(find_java(os.environ) / "bin" / "java"),
        "-Xmx256m",
        "-cp",
        f"{fetch(KAFKA_BROKER)}/*",
    ]
    with (folder / "log").open("w+b") as log:
        tool = [*java, "kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(settings)]
        subprocess.run(tool, stdout=log, stderr=log, check=True, timeout=_START_LIMIT_S)
        process = subprocess.Popen([*java, "kafka.Kafka", str(settings)], stdout=log, stderr=log)
        try:
            _await_port(process, port, folder / "log")
            yield Broker(servers=f"127.0.0.1:{port}")
        finally:
            process.kill()
            process.wait()


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    while True:
        assert process.poll() is None, log.read_text()[-3000:]
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5):
            return
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.05)


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        open_ones = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in open_ones:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in open_ones]
