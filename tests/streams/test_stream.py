"""Streams with a real broker: what each sink gets, what becomes of bad messages, which model is used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark import cloudpickle
from pyspark.sql import SparkSession

import tritium
from rigs.kafka import Broker
from rigs.processes import eventually
from streams.messages import END_LIMIT_S, drain, forget_commit, numbers
from tritium.errors import BadSpec, ModelFailed, SparkFailed, TooSlow
from tritium.streams import Bytes, Delta, Json, Kafka, KafkaSource, Parquet, Sink
from tritium.streams.progress import behind

pytestmark = [pytest.mark.kafka, pytest.mark.delta, pytest.mark.timeout(900)]
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def double(_: Any) -> Any:
    return lambda batch: batch["n"] * 2.0


@pytest.mark.usefixtures("spark")
def test_key_and_headers_stay_and_bad_messages_go_on_with_their_error(kafka: Broker, tmp_path: Path) -> None:
    kafka.create("in", "out")
    values = [b'{"n": 1}', b"no json", None, b'{"n": "text"}', b"{}", b'{"n": 5}']
    kafka.produce("in", values, headers={"trace": b"\x01"})

    source = KafkaSource(servers=kafka.servers, topic="in", rows_per_batch=4)
    sink = Kafka(servers=kafka.servers, topic="out")
    drain(source, sink, tmp_path, model=double, decode=Json(schema="n long not null"))

    found = {int(key): (value, headers) for key, value, headers in kafka.messages("out")}
    assert {key: value["prediction"] for key, (value, _) in found.items()} == {
        **dict.fromkeys(range(6)), 0: 2.0, 5: 10.0
    }  # fmt: skip
    assert {key: value["error"]["message"] for key, (value, _) in found.items() if value["error"]} == {
        1: "the value is no JSON object of the schema",
        2: "the value is null",
        3: "the value is no JSON object of the schema",
        4: "n is missing",
    }
    assert all(headers["trace"] == b"\x01" for _, headers in found.values())
    ids = {headers["tritium-id"].decode().rpartition("/")[0] for _, headers in found.values()}
    assert ids == {f"in/{part}/{at}" for part, at in places(kafka, "in")}
    assert (tmp_path / "rows" / "commits" / "1").exists(), "six messages, four at a time, are two batches"


def places(kafka: Broker, topic: str) -> set[tuple[int, int]]:
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": kafka.servers, "group.id": "places"})
    ends = [consumer.get_watermark_offsets(TopicPartition(topic, part), timeout=60)[1] for part in range(2)]
    consumer.close()
    return {(part, at) for part, end in enumerate(ends) for at in range(end)}


def test_what_waits_is_counted(spark: SparkSession, kafka: Broker, tmp_path: Path) -> None:
    assert spark is not None
    kafka.create("queue")
    kafka.produce("queue", numbers(0, 30))
    source = KafkaSource(servers=kafka.servers, topic="queue", rows_per_batch=10)

    with tritium.stream(
        source,
        model=double,
        sink=Parquet(path=str(tmp_path / "out")),
        checkpoint=tmp_path / "checkpoint",
        decode=Json(schema="n long"),
        every_s=None,
    ) as stream:
        stream.wait(END_LIMIT_S)
        batches = [one for one in stream._query.recentProgress if one.numInputRows]
    rows = [batch.numInputRows for batch in batches]
    told = [
        behind(end=one.endOffset, latest=one.latestOffset, rows=one.numInputRows)
        for batch in batches
        for one in batch.sources
    ]

    assert sum(rows) == 30
    assert len(rows) > 2
    assert told == [sum(rows[at:]) for at in range(len(rows))]


def test_bytes_reach_the_model_as_tensors_of_the_shape_they_are_said_to_have(
    spark: SparkSession, kafka: Broker, tmp_path: Path
) -> None:
    kafka.create("tensors")
    tensors = np.random.default_rng(0).random((50, 4, 3), dtype=np.float32)
    kafka.produce("tensors", [*(one.tobytes() for one in tensors), b"short"])

    def load(_: Any) -> Any:
        def predict(batch: Mapping[str, Any]) -> Any:
            assert batch["value"].shape[1:] == (4, 3)
            assert batch["value"].dtype == np.float32
            return batch["value"].sum(axis=(1, 2))

        return predict

    out = str(tmp_path / "out")
    decode = Bytes(dtype="float32", shape=(4, 3))
    source = KafkaSource(servers=kafka.servers, topic="tensors")
    drain(source, Parquet(path=out), tmp_path / "checkpoint", model=load, decode=decode, output="sum float")

    rows = {int(bytes(row.key)): row for row in spark.read.parquet(out).collect()}
    assert np.allclose([rows[at]["sum"] for at in range(50)], tensors.sum(axis=(1, 2)), atol=1e-5)
    assert rows[50]["sum"] is None
    assert rows[50].error.message == "5 bytes, 48 expected"


def test_a_batch_that_a_sink_has_already_is_written_again_only_by_kafka_and_known_by_its_ids(
    spark: SparkSession, kafka: Broker, tmp_path: Path
) -> None:
    kafka.create("again", "copies")
    kafka.produce("again", numbers(0, 40))
    tables: Mapping[str, Delta | Parquet] = {
        "delta": Delta(path=str(tmp_path / "delta")),
        "parquet": Parquet(path=str(tmp_path / "parquet")),
    }
    sinks: Mapping[str, Sink] = {**tables, "kafka": Kafka(servers=kafka.servers, topic="copies")}

    for name, sink in sinks.items():
        for _ in range(2):
            source = KafkaSource(servers=kafka.servers, topic="again", rows_per_batch=20)
            drain(source, sink, tmp_path / f"c-{name}", model=double, decode=Json(schema="n long"))
            forget_commit(tmp_path / f"c-{name}", 1)

    for name, table in tables.items():
        rows = spark.read.format(name).load(table.path).collect()
        assert sorted(row.prediction for row in rows) == [2.0 * n for n in range(40)], name
    messages = kafka.messages("copies")
    assert len(messages) == 60
    assert len({headers["tritium-id"] for _, _, headers in messages}) == 40
    assert {value["prediction"] for _, value, _ in messages} == {2.0 * n for n in range(40)}


@pytest.mark.usefixtures("spark")
def test_a_running_stream_takes_new_messages_and_tells_how_far_it_is(kafka: Broker, tmp_path: Path) -> None:
    kafka.create("live", "alive")
    sink = Kafka(servers=kafka.servers, topic="alive")
    source = KafkaSource(servers=kafka.servers, topic="live")

    with tritium.stream(
        source, model=double, sink=sink, checkpoint=tmp_path, decode=Json(schema="n long"), every_s=0.2
    ) as stream:
        kafka.produce("live", numbers(0, 10))
        eventually(lambda: len(kafka.messages("alive")) == 10, limit_s=120)
        eventually(lambda: (last := stream.progress()) is not None and last.behind == 0, limit_s=120)
        with pytest.raises(TooSlow, match=r"the stream has not ended within 0.1 s"):
            stream.wait(0.1)
    stream.wait(END_LIMIT_S)


@pytest.mark.usefixtures("spark")
def test_a_failing_model_ends_the_stream_with_one_sentence(kafka: Broker, tmp_path: Path) -> None:
    kafka.create("failing")
    kafka.produce("failing", numbers(0, 1))

    def load(_: Any) -> Any:
        raise ValueError("no weights")

    with pytest.raises(ModelFailed, match="load failed: ValueError: no weights"):
        drain(
            KafkaSource(servers=kafka.servers, topic="failing"),
            Parquet(path=str(tmp_path / "out")),
            tmp_path / "checkpoint",
            model=load,
            decode=Json(schema="n long"),
        )


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("{}/file/below", r"the start of the stream failed: .*Parent path is not"),
        ("nowhere://{}", r"a look into nowhere://.* failed: .*No FileSystem for scheme"),
    ],
)
def test_a_sink_that_cannot_be_written_is_one_sentence(
    spark: SparkSession, tmp_path: Path, path: str, sentence: str
) -> None:
    rows = spark.readStream.format("rate").load()
    (tmp_path / "file").touch()

    with pytest.raises(SparkFailed, match=sentence) as caught:
        drain(rows, Parquet(path=path.format(tmp_path)), tmp_path / "c", model=lambda _: len)

    assert "\n" not in str(caught.value)


WRONG: Mapping[str, tuple[Callable[[SparkSession], Any], dict[str, Any]]] = {
    "source: it is no streaming DataFrame; use predict for a batch": (lambda spark: spark.range(3), {}),
    "source: it has no column value to decode; there are n": (
        lambda spark: spark.readStream.format("rate").load().selectExpr("value as n"),
        {"decode": Json(schema="m long")},
    ),
    "sink: a topic takes messages of Kafka, with key, headers, topic, partition, offset; "
    "there is no key, headers, topic, partition, offset": (
        lambda spark: spark.readStream.format("rate").load(),
        {"model": lambda _: lambda batch: batch["value"], "sink": Kafka(servers="x", topic="y")},
    ),
    "decode.schema: 'long' is a type without a name": (
        lambda _: KafkaSource(servers="x", topic="y"), {"decode": Json(schema="long")}
    ),
    "decode.schema: '' declares no columns": (
        lambda _: KafkaSource(servers="x", topic="y"), {"decode": Json(schema="")}
    ),
    "decode.schema: the rows have a column key already": (
        lambda _: KafkaSource(servers="x", topic="y"), {"decode": Json(schema="key long")}
    ),
    "source: a column is named error, as that for what is wrong with a row": (
        lambda _: KafkaSource(servers="x", topic="y"), {"decode": Json(schema="error string")}
    ),
    "error: a stream sets it itself": (lambda _: KafkaSource(servers="x", topic="y"), {"error": "wrong"}),
    "decode.dtype: numpy knows no 'float33'": (
        lambda _: KafkaSource(servers="x", topic="y"), {"decode": Bytes(dtype="float33")}
    ),
}  # fmt: skip


@pytest.mark.parametrize("sentence", WRONG)
def test_what_cannot_be_meant_is_refused_before_anything_starts(
    spark: SparkSession, tmp_path: Path, sentence: str
) -> None:
    source, rest = WRONG[sentence]
    given: dict[str, Any] = {"model": double, "sink": Parquet(path=str(tmp_path / "out")), **rest}

    with pytest.raises(BadSpec) as caught:
        tritium.stream(source(spark), checkpoint=tmp_path / "checkpoint", **given)

    assert str(caught.value) == f"stream: {sentence}"
