"""A stream with dead letters: each message is in one of its two sinks, whatever is repeated."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pyspark import cloudpickle
from pyspark.sql import SparkSession

from rigs.kafka import Broker
from streams.messages import drain, forget_commit, no_two, numbers
from tritium.errors import BadSpec, ModelFailed, SparkFailed
from tritium.streams import Delta, Json, Kafka, KafkaSource, Parquet, Sink

pytestmark = [pytest.mark.kafka, pytest.mark.delta, pytest.mark.timeout(900)]
cloudpickle.register_pickle_by_value(sys.modules[__name__])


BROKEN = "the value is no JSON object of the schema"


@pytest.mark.parametrize("kind", ["topic", "table"])
def test_messages_that_fail_may_go_to_a_sink_of_their_own_and_are_predicted_once(
    spark: SparkSession, kafka: Broker, tmp_path: Path, kind: str
) -> None:
    names = [f"{kind}-{end}" for end in ("in", "out", "dead")]
    kafka.create(*names)
    kafka.produce(names[0], [b'{"n": 1}', b'"broken"', b'{"n": 2, "note": "odd"}', b'{"n": 3}'])
    (tmp_path / "predicted").mkdir()

    def preprocess(batch: Mapping[str, Any]) -> Mapping[str, Any]:
        from pyspark import TaskContext

        context = TaskContext.get()
        assert context is not None
        number = context.getLocalProperty("streaming.sql.batchId")
        for n in batch["n"]:
            with (tmp_path / "predicted" / f"{n} in {number}").open("a") as file:
                file.write("x")
        return batch

    table = str(tmp_path / "dead-table")
    dead = Kafka(servers=kafka.servers, topic=names[2]) if kind == "topic" else Delta(path=table)
    drain(
        KafkaSource(servers=kafka.servers, topic=names[0]),
        Kafka(servers=kafka.servers, topic=names[1], columns=("key", "prediction")),
        tmp_path / "checkpoint",
        model=no_two,
        preprocess=preprocess,
        decode=Json(schema="n long not null, note string"),
        input=("n",),
        dead_letters=dead,
    )

    assert sorted(value["prediction"] for _, value, _ in kafka.messages(names[1])) == [2.0, 6.0]
    calls = {path.name: path.read_text() for path in (tmp_path / "predicted").iterdir()}
    assert calls == {f"{n} in 0": "x" for n in (1, 2, 3)}
    if kind == "topic":
        letters = {key: (value, headers) for key, value, headers in kafka.messages(names[2])}
        assert {key: value for key, (value, _) in letters.items()} == {
            b"1": "broken",
            b"2": {"n": 2, "note": "odd"},
        }
        errors = {key: headers["tritium-error"] for key, (_, headers) in letters.items()}
        assert errors == {b"1": BROKEN.encode(), b"2": b"two"}
    else:
        rows = {bytes(row.key): row for row in spark.read.format("delta").load(table).collect()}
        assert {key: row.error.step for key, row in rows.items()} == {b"1": "decode", b"2": "predict"}
        assert bytes(rows[b"1"].value) == b'"broken"'
        assert rows[b"2"].note == "odd"


def test_a_batch_that_is_repeated_is_in_neither_table_twice(
    spark: SparkSession, kafka: Broker, tmp_path: Path
) -> None:
    kafka.create("twice")
    kafka.produce("twice", [*numbers(0, 40), b"broken", b"too"])
    paths = {name: str(tmp_path / name) for name in ("delta", "parquet", "delta-dead", "parquet-dead")}
    ends: Mapping[str, tuple[Sink, Sink]] = {
        "delta": (Delta(path=paths["delta"]), Delta(path=paths["delta-dead"])),
        "parquet": (Parquet(path=paths["parquet"]), Parquet(path=paths["parquet-dead"])),
    }

    for name, (sink, dead) in ends.items():
        for _ in range(2):
            source = KafkaSource(servers=kafka.servers, topic="twice", rows_per_batch=20)
            checkpoint = tmp_path / f"c-{name}"
            drain(
                source, sink, checkpoint, model=no_two, decode=Json(schema="n long"), on_error="quarantine",
                dead_letters=dead,
            )  # fmt: skip
            for batch in (1, 2):
                forget_commit(checkpoint, batch)

    for name in ends:
        rows = spark.read.format(name).load(paths[name]).collect()
        assert sorted(row.prediction for row in rows) == [2.0 * n for n in range(40) if n != 2], name
        letters = spark.read.format(name).load(paths[f"{name}-dead"]).collect()
        assert sorted(row.error.message for row in letters) == [BROKEN, BROKEN, "two"], name


def test_a_row_is_in_one_of_two_sinks_though_its_model_thinks_again_between_them(
    spark: SparkSession, kafka: Broker, tmp_path: Path
) -> None:
    kafka.create("fickle")
    kafka.produce("fickle", numbers(0, 6))
    good, bad = tmp_path / "good", tmp_path / "bad"

    def fickle(_: Any) -> Any:
        """Fail on two, but only while the other sink is not there yet."""

        def predict(batch: Mapping[str, Any]) -> Any:
            if 2 in batch["n"] and not (good / "_delta_log").exists():
                raise ValueError("not yet")
            return batch["n"] * 2.0

        return predict

    def run(**other: Any) -> None:
        drain(
            KafkaSource(servers=kafka.servers, topic="fickle"),
            Delta(path=str(good)),
            tmp_path / "checkpoint",
            **{
                "model": fickle,
                "decode": Json(schema="n long not null"),
                "on_error": "quarantine",
                "dead_letters": Delta(path=str(bad)),
                **other,
            },
        )

    bad.write_text("a file where the other table should be")
    with pytest.raises(SparkFailed, match=r"the stream failed: .*bad") as caught:
        run()
    assert "\n" not in str(caught.value)
    with pytest.raises(BadSpec, match="dead_letters: batch 0 may be in one of two sinks and not"):
        run(dead_letters=None)
    with pytest.raises(BadSpec, match=r"output: batch 0 was predicted and lies in .* the columns .*predict"):
        run(output="other double")
    bad.unlink()
    run()

    found = [
        sorted(row.n for row in spark.read.format("delta").load(str(table)).collect())
        for table in (good, bad)
    ]
    assert found == [[0, 1, 3, 4, 5], [2]]


@pytest.mark.usefixtures("spark")
def test_a_model_that_fails_between_two_sinks_is_one_sentence_too(kafka: Broker, tmp_path: Path) -> None:
    kafka.create("between")
    kafka.produce("between", numbers(0, 4))

    with pytest.raises(ModelFailed, match="predict failed: ValueError: two"):
        drain(
            KafkaSource(servers=kafka.servers, topic="between"),
            Parquet(path=str(tmp_path / "out")),
            tmp_path / "checkpoint",
            model=no_two,
            decode=Json(schema="n long"),
            on_error="fail",
            dead_letters=Parquet(path=str(tmp_path / "dead")),
        )
