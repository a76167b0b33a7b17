"""A stream's model is swapped by a pointer, between micro-batches only, and back if its check fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark import cloudpickle
from pyspark.sql import SparkSession

import tritium
from rigs.cluster import local
from rigs.jars import KAFKA, for_spark
from rigs.kafka import Broker
from rigs.processes import eventually
from streams.messages import forget_commit, numbers, publish
from tritium.errors import VerifyFailed
from tritium.streams import Json, Kafka, KafkaSource, Stream, Versions

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]
cloudpickle.register_pickle_by_value(sys.modules[__name__])
_LIMIT_S = 300.0


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    with local(2, machine="two-t4", conf={"spark.jars": for_spark(KAFKA)}) as session:
        yield session


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    return Versions(store=tmp_path / "store", state=tmp_path / "state")


def add(_: Any, path: Path) -> Any:
    plus = float((path / "plus").read_text())
    return lambda batch: batch["n"] + plus


def sane(path: Path) -> bool:
    return float((path / "plus").read_text()) < 1000


def started(kafka: Broker, versions: Versions, topic: str, folder: Path, every_s: float | None) -> Stream:
    return tritium.stream(
        KafkaSource(servers=kafka.servers, topic=topic),
        model=add,
        sink=Kafka(servers=kafka.servers, topic=f"{topic}-out", columns=("n", "prediction")),
        checkpoint=folder / "checkpoint",
        decode=Json(schema="n long"),
        versions=versions,
        check=sane,
        every_s=every_s,
    )


def added(kafka: Broker, topic: str) -> list[tuple[int, float]]:
    """What was added to which number."""
    found = kafka.messages(f"{topic}-out")
    return sorted((value["n"], value["prediction"] - value["n"]) for _, value, _ in found)


@pytest.mark.usefixtures("spark")
def test_a_repeated_batch_keeps_its_version_though_another_serves_now(
    kafka: Broker, versions: Versions, tmp_path: Path
) -> None:
    kafka.create("again", "again-out")

    def run(first: int, last: int, plus: float) -> None:
        publish(versions, plus)
        kafka.produce("again", numbers(first, last))
        with started(kafka, versions, "again", tmp_path, None) as stream:
            stream.wait(_LIMIT_S)

    with pytest.raises(
        VerifyFailed, match=r"version \w+ of the model was rejected: its check returned False"
    ):
        run(0, 5, 9000)
    run(5, 10, 100)
    forget_commit(tmp_path / "checkpoint", 0)
    run(10, 15, 200)

    assert added(kafka, "again") == sorted(
        [(n, 100.0) for n in range(10)] * 2 + [(n, 200.0) for n in range(10, 15)]
    )


@pytest.mark.usefixtures("spark")
def test_a_running_stream_takes_a_new_version_and_rolls_one_back_that_fails_its_check(
    kafka: Broker, versions: Versions, tmp_path: Path
) -> None:
    kafka.create("live", "live-out")
    publish(versions, 100)

    def answered(first: int, last: int) -> None:
        kafka.produce("live", numbers(first, last))
        eventually(lambda: len(added(kafka, "live")) == last, limit_s=_LIMIT_S)

    with started(kafka, versions, "live", tmp_path, 0.2) as stream:
        answered(0, 5)
        good = publish(versions, 200)
        eventually(lambda: versions.serving() == good, limit_s=_LIMIT_S)
        answered(5, 10)
        bad = publish(versions, 9000)
        eventually(lambda: stream.rejected, limit_s=_LIMIT_S)
        assert versions.wanted() == good
        answered(10, 15)

        assert stream.rejected == (f"version {bad} of the model was rejected: its check returned False",)
    assert added(kafka, "live") == [(n, 100.0 if n < 5 else 200.0) for n in range(15)]
