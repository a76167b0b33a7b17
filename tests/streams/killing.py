"""What the kill test and its long form share: kill somebody inside a batch, count what sinks got."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rigs.application import Application
from rigs.jars import DELTA, KAFKA, for_spark
from rigs.kafka import Broker

__all__ = ["Found", "killed_once"]

_DRIVER = Path(__file__).with_name("killed_driver.py")
_DRAIN_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one sink had after everything was over."""

    victim: str
    sink: str
    sent: int
    rows: int
    distinct: int
    ids: int
    """Different ids of messages; for tables as many as rows."""

    @property
    def lost(self) -> int:
        """Messages without an answer."""
        return self.sent - self.distinct

    @property
    def twice(self) -> int:
        """Answers that are copies of another."""
        return self.rows - self.distinct


def killed_once(
    kafka: Broker, victim: str, *, folder: Path, topic: str, sent: int, environment: dict[str, str]
) -> list[Found]:
    """Send messages into sinks of every kind; kill ``victim`` once, in the middle of a batch of each.

    "two tables" are a table and another for dead letters, counted together: each message should be in one.
    """
    kafka.create(topic, f"{topic}-out")
    kafka.produce(topic, [json.dumps({"n": n}).encode() for n in range(sent)])
    folder.mkdir(parents=True)
    environment = {**environment, "PYTHONPATH": str(_DRIVER.parents[1])}
    arguments = (kafka.servers, topic, str(folder), for_spark(KAFKA, DELTA), victim, str(sent // 3))
    if victim == "driver":
        with Application(_DRIVER, *arguments, environment=environment) as doomed:
            doomed.process.wait(_DRAIN_LIMIT_S)
        assert (folder / "dead").exists(), "it ended before it could be killed"
    with Application(_DRIVER, *arguments, environment=environment) as application:
        tables = application.says("drained", limit_s=_DRAIN_LIMIT_S)
        application.tell("stop")
        application.process.wait(60)
    assert (folder / "dead").exists() == (victim != "nobody")
    messages = kafka.messages(f"{topic}-out")
    assert tables["rows"], "the model failed on everything"
    assert tables["dead"], "the model failed on nothing"
    tables["two tables"] = tables.pop("rows") + tables.pop("dead")
    answers = {**tables, "kafka": [value["prediction"] / 2.0 for _, value, _ in messages]}
    found = []
    for sink, numbers in sorted(answers.items()):
        counted = Counter(numbers)
        assert counted.keys() <= set(range(sent)), f"{sink} has answers to nothing"
        ids = {headers["tritium-id"] for _, _, headers in messages} if sink == "kafka" else set(counted)
        found.append(
            Found(
                victim=victim,
                sink=sink,
                sent=sent,
                rows=counted.total(),
                distinct=len(counted),
                ids=len(ids),
            )
        )
    return found
