"""The driver or an executor is killed in the middle of a batch: what sinks promise holds all the same."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from rigs.application import Application
from rigs.jars import DELTA, KAFKA, for_spark
from rigs.kafka import Broker
from rigs.processes import eventually
from streams.killing import killed_once
from streams.messages import numbers

pytestmark = [pytest.mark.kafka, pytest.mark.delta, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("victim", ["driver", "executor"])
def test_tables_have_every_row_once_and_topics_at_least_once_with_the_same_id(
    kafka: Broker, tmp_path: Path, state: Path, victim: str
) -> None:
    found = killed_once(
        kafka,
        victim,
        folder=tmp_path / "run",
        topic=f"killed-{victim}",
        sent=60,
        environment={"TRITIUM_DIR": str(state)},
    )

    kinds = ("delta", "kafka", "parquet", "two tables")
    assert [(one.sink, one.lost) for one in found] == [(kind, 0) for kind in kinds]
    assert {one.sink: one.twice for one in found if one.sink != "kafka"} == dict.fromkeys(
        ("delta", "parquet", "two tables"), 0
    )
    assert all(one.ids == one.sent for one in found)


def test_a_driver_killed_between_two_sinks_puts_each_message_into_one(
    kafka: Broker, tmp_path: Path, state: Path
) -> None:
    kafka.create("cut", "cut-dead")
    kafka.produce("cut", numbers(0, 6))
    program = Path(__file__).with_name("killed_between.py")
    environment = {"TRITIUM_DIR": str(state), "PYTHONPATH": str(program.parents[1])}
    arguments = (kafka.servers, "cut", str(tmp_path), for_spark(KAFKA, DELTA))

    with socket.create_server(("127.0.0.1", 0)) as silent:
        nobody = f"127.0.0.1:{silent.getsockname()[1]}"
        with Application(program, *arguments, nobody, environment=environment) as doomed:
            eventually(lambda: any(tmp_path.glob("good/_delta_log/*0.json")), limit_s=300)
            assert doomed.process.poll() is None
    assert not kafka.messages("cut-dead")
    with Application(program, *arguments, kafka.servers, environment=environment) as application:
        rows = application.says("drained", limit_s=300)

    assert rows == [0, 1, 3, 4, 5]
    assert [value["n"] for _, value, _ in kafka.messages("cut-dead")] == [2]
