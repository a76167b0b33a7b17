"""Arguments of another kind than was asked for are refused by name, before they cause anything else."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from pyspark.sql.types import FloatType

import tritium
from tritium.assign.types import Request
from tritium.errors import BadSpec
from tritium.infer.kinds import KINDS, mistyped
from tritium.infer.replica import replica, unfit


def test_predict_names_all_of_them() -> None:
    wrong: dict[str, Any] = {
        "model": "m.pt", "input": "x", "batch_size": 2.5, "share_mib": "4GiB", "report": "r", "wait_s": None,
        "priority": "high",
    }  # fmt: skip

    with pytest.raises(BadSpec) as caught:
        tritium.predict(cast("Any", {"x": [1]}), **wrong)

    assert str(caught.value).splitlines() == [
        "predict: df: expected a Spark DataFrame, got a dict",
        "predict: model: expected a function that loads the model onto a device, got 'm.pt'",
        "predict: input: expected a list of column names, got 'x'",
        "predict: batch_size: expected an integer, got 2.5",
        "predict: share_mib: expected an integer, got '4GiB'",
        "predict: wait_s: expected a number of seconds, got None",
        "predict: priority: expected an integer, got 'high'",
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
    wrong: dict[str, Any] = {"batch_size": "64", "gpu": None, "share_mib": 0.5, "priority": None}

    with pytest.raises(BadSpec) as caught:
        tritium.predict_udf(cast("Any", len), return_type="float", **wrong)

    assert str(caught.value).splitlines() == [
        "predict_udf: batch_size: expected an integer, got '64'",
        "predict_udf: gpu: expected an integer, got None",
        "predict_udf: share_mib: expected an integer, got 0.5",
        "predict_udf: priority: expected an integer, got None",
    ]


@pytest.mark.parametrize(
    ("gpu", "share_mib", "problems"),
    [
        (-1, None, ["gpu: expected an integer >= 0, got -1"]),
        (1, 0, ["share_mib: expected an integer >= 1, got 0"]),
        (2, 4096, ["share_mib: a share is of one device, and gpu is 2"]),
        (0, 4096, ["share_mib: a share is of one device, and gpu is 0"]),
        (1, 4096, []),
        (0, None, []),
    ],
)
def test_a_share_is_of_one_device_whichever_call_asks_for_it(
    gpu: int, share_mib: int | None, problems: list[str]
) -> None:
    """`predict` looks at the DataFrame first, so that its call is tested on Spark (`test_share_calls`)."""
    assert unfit(gpu=gpu, share_mib=share_mib) == problems
    if problems:
        with pytest.raises(BadSpec) as caught:
            tritium.predict_udf(
                cast("Any", len), return_type=FloatType(), batch_size=8, gpu=gpu, share_mib=share_mib
            )
        assert str(caught.value) == f"predict_udf: {problems[0]}"


def test_a_copy_on_the_cpu_asks_for_nothing_and_another_for_what_was_said() -> None:
    assert replica(gpu=0, share_mib=None, priority=3) is None
    assert replica(gpu=1, share_mib=4096, priority=3) == Request(
        members=1, kind="replicas", share_mib=4096, priority=3
    )
    assert replica(gpu=2, share_mib=None, priority=0, min_memory_mib=8, product="A100") == Request(
        members=1, devices_each=2, kind="replicas", min_memory_mib=8, product="A100"
    )


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
