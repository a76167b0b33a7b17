"""Arguments of a stream are looked at before anything is started: all mistakes, a sentence each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tritium
from tritium.errors import BadSpec
from tritium.streams import KafkaSource, Parquet, Versions

GIVEN: dict[str, Any] = {
    "source": KafkaSource(servers="nowhere", topic="in"),
    "model": len,
    "sink": Parquet(path="out"),
    "checkpoint": Path("checkpoint"),
}


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


@pytest.mark.parametrize("name", ["df", "input", "error"])
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
