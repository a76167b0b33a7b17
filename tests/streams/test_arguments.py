"""Arguments of a stream are looked at before anything is started: all mistakes, a sentence each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tritium
from tritium.errors import BadSpec
from tritium.streams import Bytes, Delta, Kafka, KafkaSource, Parquet, Sink, Versions
from tritium.streams.arguments import unwritable, wrong

GIVEN: dict[str, Any] = {
    "source": KafkaSource(servers="nowhere", topic="in"),
    "model": len,
    "sink": Parquet(path="out"),
    "checkpoint": Path("checkpoint"),
}
ABSENT = dict.fromkeys(("decode", "dead_letters", "versions", "check", "every_s"))


def refused(**given: Any) -> list[str]:
    with pytest.raises(BadSpec) as caught:
        tritium.stream(**{**GIVEN, **given})
    return [problem.partition("; known here: ")[0] for problem in caught.value.problems]


def test_a_misspelt_argument_is_named_with_what_was_probably_meant() -> None:
    assert refused(batch_sise=8, ever_s=2.0, batches="arrow") == [
        "batch_sise: unknown argument; did you mean batch_size?",
        "ever_s: unknown argument; did you mean every_s?",
    ]


def test_an_argument_that_is_like_no_other_is_unknown() -> None:
    assert refused(zzz=1) == ["zzz: unknown argument"]


@pytest.mark.parametrize("name", ["df", "error"])
def test_what_a_stream_sets_itself_nobody_else_sets(name: str) -> None:
    assert refused(**{name: ["x"]}) == [f"{name}: a stream sets it itself"]


def test_with_versions_the_models_path_is_theirs() -> None:
    versions = Versions(store=Path("store"), state=Path("state"))

    assert refused(versions=versions, model_path=Path("model")) == ["model_path: a stream sets it itself"]


def test_all_mistakes_are_told_at_once() -> None:
    assert refused(sink="out", priorty=1) == [
        "sink: expected Kafka, Delta or Parquet, got 'out'",
        "priorty: unknown argument; did you mean priority?",
    ]


@pytest.mark.parametrize(
    ("sink", "dead"),
    [
        (Parquet(path="out"), Parquet(path="./out/")),
        (Parquet(path="/data/out"), Parquet(path="file:///data/out")),
        (Delta(path="s3a://bucket/out"), Delta(path="s3a://bucket/out/dead")),
        (Delta(path="/data/out/rows"), Parquet(path="/data/out")),
    ],
)
def test_dead_letters_take_no_place_of_the_sinks(sink: Delta | Parquet, dead: Delta | Parquet) -> None:
    assert refused(sink=sink, dead_letters=dead) == [
        f"dead_letters: {dead.path} and the sink's {sink.path} overlap; take another folder"
    ]


def kafka(topic: str, servers: str = "one:1, two:2") -> Kafka:
    return Kafka(servers=servers, topic=topic)


def test_dead_letters_take_no_topic_of_the_sinks() -> None:
    assert refused(sink=kafka("out"), dead_letters=kafka("out", "two:2")) == [
        "dead_letters: out is the sink's topic too; take another one"
    ]


@pytest.mark.parametrize(
    ("sink", "dead"),
    [
        (kafka("out"), kafka("dead")),
        (kafka("in"), kafka("in", "three:3")),
        (Parquet(path="out"), Delta(path="outer")),
        (Delta(path="s3a://bucket/out"), Parquet(path="s3a://bucket/out/_dead")),
    ],
)
def test_ends_that_are_apart_are_refused_for_nothing(sink: Sink, dead: Sink) -> None:
    source = KafkaSource(servers="four:4", topic="in")

    assert wrong({**GIVEN, **ABSENT, "source": source, "sink": sink, "dead_letters": dead}, {}) == []


def test_no_stream_reads_what_it_writes() -> None:
    endless = "its topic in is the source's, and the stream would read what it writes for ever"

    assert refused(
        source=KafkaSource(servers="one:1", topic="other, in"), sink=kafka("in"), dead_letters=kafka("in")
    )[:2] == [f"sink: {endless}", f"dead_letters: {endless}"]


@pytest.mark.parametrize("url", ["hdfs://name/c", "s3a://bucket/c", "file:///c"])
def test_a_checkpoint_is_no_url(url: str) -> None:
    assert refused(checkpoint=Path(url)) == [
        f"checkpoint: {Path(url)} is a URL; take a folder of a file system that driver and executors share"
    ]


def test_an_arrow_batch_has_no_tensors() -> None:
    assert refused(decode=Bytes(dtype="int8", shape=(1,)), batches="arrow") == [
        "decode: an Arrow batch has no tensors; give Bytes() and get the bytes"
    ]


def test_the_tensors_of_bytes_are_an_input() -> None:
    given = {"decode": Bytes(dtype="int8", shape=(1,)), "input": ("key",)}
    assert refused(**given) == ["input: the tensors of Bytes are in value, which is not among them"]


MESSAGE = ("key", "value", "headers", "topic", "partition", "offset", "n", "prediction", "error")


OF_A_MESSAGE = "key, headers, topic, partition, offset"


@pytest.mark.parametrize(
    ("without", "sink", "dead", "lacking"),
    [
        ((), kafka("out"), kafka("dead"), []),
        (("key", "value", "offset"), Delta(path="out"), Parquet(path="dead"), []),
        (("value",), kafka("out"), None, []),
        (("value",), kafka("out"), kafka("dead"), [("dead_letters", f"value, {OF_A_MESSAGE}", "value")]),
        (("key", "offset"), kafka("out"), None, [("sink", OF_A_MESSAGE, "key, offset")]),
    ],
)
def test_a_topic_takes_whole_messages(
    without: tuple[str, ...], sink: Sink, dead: Sink | None, lacking: list[tuple[str, str, str]]
) -> None:
    assert unwritable([name for name in MESSAGE if name not in without], sink, dead) == [
        f"{name}: a topic takes messages of Kafka, with {parts}; there is no {missing}"
        for name, parts, missing in lacking
    ]


def test_an_answer_has_columns_that_there_are() -> None:
    sink = Kafka(servers="one:1", topic="out", columns=("n", "pediction", "error"))
    typo = "sink.columns: the rows have no column pediction; did you mean prediction?"

    assert unwritable(MESSAGE, sink, None) == [typo]
    problems = unwritable(MESSAGE, sink, Delta(path="dead"))
    assert [problem.partition("; ")[0] for problem in problems] == [
        typo.partition("; ")[0],
        "sink.columns: the rows have no column error",
    ]


@pytest.mark.parametrize("name", ["prediction", "Prediction", "headers.key", "`prediction`"])
def test_columns_are_named_as_spark_takes_them(name: str) -> None:
    assert unwritable(MESSAGE, Kafka(servers="one:1", topic="out", columns=(name,)), None) == []


def test_a_dead_letter_has_no_columns() -> None:
    dead = Kafka(servers="one:1", topic="dead", columns=("n",))

    assert unwritable(MESSAGE, Delta(path="out"), dead) == [
        "dead_letters.columns: a dead letter keeps its value; only answers have columns"
    ]
