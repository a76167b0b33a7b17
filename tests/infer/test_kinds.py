"""Arguments of another kind than was asked for are refused by name, before they cause anything else."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from pyspark.sql.types import FloatType

import tritium
from tritium.errors import BadSpec
from tritium.infer.kinds import KINDS, mistyped


def test_predict_names_all_of_them() -> None:
    wrong: dict[str, Any] = {"model": "m.pt", "input": "x", "batch_size": 2.5, "report": "r", "wait_s": None}

    with pytest.raises(BadSpec) as caught:
        tritium.predict(cast("Any", {"x": [1]}), **wrong)

    assert str(caught.value).splitlines() == [
        "predict: df: expected a Spark DataFrame, got a dict",
        "predict: model: expected a function that loads the model onto a device, got 'm.pt'",
        "predict: input: expected a list of column names, got 'x'",
        "predict: batch_size: expected an integer, got 2.5",
        "predict: wait_s: expected a number of seconds, got None",
        "predict: report: expected a pathlib.Path, got 'r'",
    ]


def test_stream_names_all_of_them() -> None:
    wrong: dict[str, Any] = {"sink": "out", "checkpoint": "c", "decode": "json", "every_s": True}

    with pytest.raises(BadSpec) as caught:
        tritium.stream(cast("Any", "topic"), model=len, **wrong)

    assert str(caught.value).splitlines() == [
        "stream: source: expected KafkaSource or a streaming DataFrame, got 'topic'",
        "stream: sink: expected Kafka, Delta or Parquet, got 'out'",
        "stream: checkpoint: expected a pathlib.Path, got 'c'",
        "stream: decode: expected Json or Bytes, got 'json'",
        "stream: every_s: expected a number of seconds, or None, got True",
    ]


def test_predict_udf_names_all_of_them() -> None:
    wrong: dict[str, Any] = {"batch_size": "64", "gpu": None}

    with pytest.raises(BadSpec, match=r"batch_size: expected an integer, got '64'\n.*gpu: .*, got None"):
        tritium.predict_udf(cast("Any", len), return_type="float", **wrong)


def test_a_model_that_holds_a_lock_is_refused() -> None:
    lock = threading.Lock()

    with pytest.raises(BadSpec) as caught:
        tritium.predict_udf(cast("Any", lambda: lock), return_type=FloatType(), batch_size=64)

    assert str(caught.value) == (
        "predict_udf: make_predict_fn: it uses what cannot be sent to executors: "
        "cannot pickle '_thread.lock' object"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", np.int64(8)),
        ("wait_s", np.float32(0.5)),
        ("input", ("x", "y")),
        ("input", None),
        ("model_path", len),
        ("model_path", Path("m")),
        ("buckets", (8, 16)),
    ],
)
def test_what_may_be_meant_passes(name: str, value: object) -> None:
    assert mistyped(KINDS, **{name: value}) == []
