"""A document becomes types, or a list of all its mistakes in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.documents import changed, full
from tritium.errors import BadSpec
from tritium.pipeline.parse import parse
from tritium.pipeline.spec import Gpu, Infer, Pipeline, Script, Sink, Source, Target, Train, Verify
from tritium.train.gang import Gang

FOLDER = Path("/project")


def problems(document: object) -> tuple[str, ...]:
    with pytest.raises(BadSpec) as refused:
        parse(document, folder=FOLDER, where="pipeline.yaml")
    return refused.value.problems


def test_every_key_of_the_format_arrives() -> None:
    assert parse(full(), folder=FOLDER, where="pipeline.yaml") == Pipeline(
        name="digits",
        code=FOLDER,
        storage=FOLDER / "kept",
        train=Train(
            source=Source(format="parquet", path=FOLDER / "data/train"),
            run=Target(module="digits", function="fit"),
            framework="torch",
            ranks=2,
            gpu=Gpu(per_rank=1, min_memory_mib=8192, priority=3),
            retries=2,
            params={"epochs": 3},
        ),
        verify=Verify(
            source=Source(format="csv", path=FOLDER / "data/holdout.csv", schema="x double"),
            run=Target(module="digits", function="check"),
            at_least={"accuracy": 0.95},
            at_most={"loss": 1.0},
        ),
        infer=Infer(
            source=Source(format="parquet", path=FOLDER / "data/rest"),
            run=Target(module="digits", function="load"),
            sink=Sink(format="parquet", path=FOLDER / "out/predictions"),
            gpu=Gpu(per_rank=1, min_memory_mib=512, share_mib=4096, priority=2),
            batch=64,
            output="prediction double",
        ),
    )


def test_a_script_with_arguments_may_train() -> None:
    document = changed(
        {"spec.train.run": "jobs/train.py", "spec.train.params": ..., "spec.train.args": ["--epochs", 3]}
    )

    train = parse(document, folder=FOLDER, where="pipeline.yaml").train

    assert train.run == Script(path="jobs/train.py", args=("--epochs", "3"))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"spec.train.run": "train.py"}, "spec.train.params: are for a function; a script takes args"),
        ({"spec.train.args": ["3"]}, "spec.train.args: are for a script; a function takes params"),
        (
            {"spec.train.run": "../train.py", "spec.train.params": ...},
            "spec.train.run: expected module:function, or a script such as train.py, got '../train.py'",
        ),
        (
            {"spec.train.run": "train.py", "spec.train.params": ..., "spec.train.args": "--epochs"},
            "spec.train.args: expected a list such as [--epochs, 3], got '--epochs'",
        ),
        (
            {"spec.verify.run": "check.py"},
            "spec.verify.run: expected module:function, got 'check.py'",
        ),
    ],
)
def test_a_script_takes_arguments_and_a_function_parameters(changes: dict[str, Any], problem: str) -> None:
    assert problems(changed(changes)) == (problem,)


def test_what_is_optional_may_be_left_out() -> None:
    document = changed({"spec": {"train": {"source": {"format": "csv", "path": "/abs"}, "run": "m.n:f"}}})

    pipeline = parse(document, folder=FOLDER, where="pipeline.yaml")

    assert pipeline == Pipeline(
        name="digits",
        code=FOLDER,
        storage=FOLDER / ".tritium",
        train=Train(
            source=Source(format="csv", path=Path("/abs")), run=Target(module="m.n", function="f"), ranks=1
        ),
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"spec.train.ranks": "two"}, "spec.train.ranks: expected an integer >= 1, got 'two'"),
        ({"spec.train.ranks": 0}, "spec.train.ranks: expected an integer >= 1, got 0"),
        ({"spec.train.ranks": True}, "spec.train.ranks: expected an integer >= 1, got True"),
        ({"spec.train.retries": -1}, "spec.train.retries: expected an integer >= 0, got -1"),
        ({"spec.train.retries": None}, "spec.train.retries: expected an integer >= 0, got nothing"),
        ({"spec.train.rank": 2}, "spec.train.rank: unknown key; did you mean ranks?"),
        ({"spec.infer.sink.mode": "a"}, "spec.infer.sink.mode: unknown key; known here: format, path"),
        (
            {"spec.train.run": "digits.fit"},
            "spec.train.run: expected module:function, or a script such as train.py, got 'digits.fit'",
        ),
        (
            {"spec.train.run": ...},
            "spec.train.run: missing; expected module:function, or a script such as train.py",
        ),
        ({"spec.train.source": ...}, "spec.train.source: missing; expected a mapping"),
        ({"spec.train.source": "data"}, "spec.train.source: expected a mapping, got 'data'"),
        ({"spec.train": ...}, "spec.train: missing; expected a mapping"),
        ({"spec.train.framework": "tensorfow"}, "spec.train.framework: expected torch, got 'tensorfow'"),
        ({"spec.train.params": [1]}, "spec.train.params: expected a mapping, got [1]"),
        ({"spec.train.gpu": {"perRank": -1}}, "spec.train.gpu.perRank: expected an integer >= 0, got -1"),
        (
            {"spec.train.gpu.minMemory": "8GB"},
            "spec.train.gpu.minMemory: expected a size of whole MiB such as 8GiB or 512MiB, got '8GB'",
        ),
        (
            {"spec.train.gpu.minMemory": 8},
            "spec.train.gpu.minMemory: expected a size of whole MiB such as 8GiB or 512MiB, got 8",
        ),
        (
            {"spec.train.gpu": {"share": "4GiB"}},
            "spec.train.gpu.share: is for infer; a gang has whole devices",
        ),
        (
            {"spec.infer.gpu": {"share": "0MiB"}},
            "spec.infer.gpu.share: expected a size of whole MiB such as 8GiB or 512MiB, got '0MiB'",
        ),
        (
            {"spec.infer.gpu": {"priority": "high"}},
            "spec.infer.gpu.priority: expected an integer, got 'high'",
        ),
        ({"spec.infer.gpu": {"priority": True}}, "spec.infer.gpu.priority: expected an integer, got True"),
        (
            {"spec.train.source.format": "delta"},
            "spec.train.source.format: delta is not there yet; supported here: parquet, csv",
        ),
        (
            {"spec.train.source.format": "xlsx"},
            "spec.train.source.format: expected parquet or csv, got 'xlsx'",
        ),
        (
            {"spec.infer.source": {"format": "kafka", "servers": "host:9092", "topic": "events"}},
            "spec.infer.source.format: kafka is not there yet; supported here: parquet, csv",
        ),
        (
            {"spec.infer.sink.format": "csv"},
            "spec.infer.sink.format: csv is not there yet; supported here: parquet",
        ),
        (
            {"spec.code": {"wheel": "dist/digits.whl"}},
            "spec.code.wheel: is not there yet; supported here: path",
        ),
        (
            {"spec.train.source.schema": "x double"},
            "spec.train.source.schema: a parquet source has its own; only csv takes one",
        ),
        (
            {"spec.storage": "s3a://bucket/tritium"},
            "spec.storage: s3a://bucket/tritium is not a local path; s3a:// is not there yet",
        ),
        (
            {"spec.verify.atLeast": {"accuracy": "high"}},
            "spec.verify.atLeast.accuracy: expected a number, got 'high'",
        ),
        (
            {"metadata.name": "My Digits"},
            "metadata.name: expected a name of a-z, 0-9 and -, at most 63 long, got 'My Digits'",
        ),
        ({"apiVersion": "v1"}, "apiVersion: expected tritium.dev/v1alpha1, got 'v1'"),
        ({"kind": "Pipelines"}, "kind: expected Pipeline, got 'Pipelines'"),
    ],
)
def test_a_mistake_is_named_with_its_path(changes: dict[str, Any], sentence: str) -> None:
    assert problems(changed(changes)) == (sentence,)


def test_a_gang_is_more_important_than_a_model_unless_they_say_another_priority() -> None:
    silent = parse(changed({"spec.train.gpu.priority": ..., "spec.infer.gpu": ...}), folder=FOLDER, where="")
    modest = parse(
        changed({"spec.train.gpu.priority": 0, "spec.infer.gpu.priority": -1}), folder=FOLDER, where=""
    )

    assert silent.infer is not None
    assert modest.infer is not None
    assert (silent.train.gpu.priority, silent.infer.gpu) == (Gang(ranks=1).priority, Gpu(priority=0))
    assert (modest.train.gpu.priority, modest.infer.gpu.priority) == (0, -1)


def test_a_verify_without_a_bar_is_a_mistake() -> None:
    document = changed({"spec.verify.atLeast": ..., "spec.verify.atMost": ...})

    assert problems(document) == (
        "spec.verify.atLeast: missing; expected a bar such as {accuracy: 0.95}, here or as atMost",
    )


def test_all_mistakes_are_told_at_once_each_on_a_line_that_names_the_file() -> None:
    document = changed({"spec.train.ranks": "two", "spec.infer.btach": 1, "kind": 3, "spec.verify.run": "x"})

    with pytest.raises(BadSpec) as refused:
        parse(document, folder=FOLDER, where="pipeline.yaml")

    assert refused.value.exit_code == 31
    assert str(refused.value).splitlines() == [
        "pipeline.yaml: kind: expected Pipeline, got 3",
        "pipeline.yaml: spec.train.ranks: expected an integer >= 1, got 'two'",
        "pipeline.yaml: spec.verify.run: expected module:function, got 'x'",
        "pipeline.yaml: spec.infer.btach: unknown key; did you mean batch?",
    ]


@pytest.mark.parametrize("document", [None, [], "text", 3])
def test_a_document_that_is_no_mapping_is_refused(document: object) -> None:
    assert problems(document) == (
        f"expected a mapping with apiVersion, kind, metadata and spec, got {document!r}",
    )


def test_a_file_url_is_a_local_path() -> None:
    document = changed({"spec.storage": "file:///kept"})

    assert parse(document, folder=FOLDER, where="").storage == Path("/kept")


def paths_of(document: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in document.items():
        found.append(prefix + key)
        if isinstance(value, dict):
            found += paths_of(value, f"{prefix}{key}.")
    return found


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=2)
    ),
    max_leaves=4,
)


@settings(deadline=None)  # loaded machines are slow
@given(path=st.sampled_from(paths_of(full())), value=ANYTHING)
def test_whatever_stands_at_one_path_every_mistake_is_at_that_path(path: str, value: Any) -> None:
    try:
        parse(changed({path: value}), folder=FOLDER, where="pipeline.yaml")
        found: tuple[str, ...] = (path,)
    except BadSpec as err:
        found = err.problems

    assert found
    assert [problem for problem in found if not problem.startswith(path)] == []


CHECKED = [path for path in paths_of(full()) if not path.startswith("spec.train.params.")]
"""The user's own parameters may be anything."""


@settings(deadline=None)  # loaded machines are slow
@given(first=st.sampled_from(CHECKED), second=st.sampled_from(CHECKED))
def test_a_mistake_never_hides_another(first: str, second: str) -> None:
    """Two paths, none inside the other: the mistakes of both together are the mistakes of each."""
    if first == second or first.startswith(f"{second}.") or second.startswith(f"{first}."):
        return
    wrong = object()

    both = set(problems(changed({first: wrong, second: wrong})))

    assert both == set(problems(changed({first: wrong}))) | set(problems(changed({second: wrong})))


@settings(deadline=None)  # loaded machines are slow
@given(number=st.integers(0, 4096), unit=st.sampled_from(["MiB", "GiB", "TiB"]))
def test_sizes_are_whole_mebibytes(number: int, unit: str) -> None:
    document = changed({"spec.infer.gpu.minMemory": f"{number}{unit}"})

    infer = parse(document, folder=FOLDER, where="").infer

    assert infer is not None
    assert infer.gpu.min_memory_mib == number * {"MiB": 1, "GiB": 1024, "TiB": 1024**2}[unit]
