"""``tritium.predict`` on real Spark: every row once and in order, each task on a device of its own."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark import cloudpickle
from pyspark.sql import DataFrame, SparkSession

import tritium
from rigs.processes import eventually
from rigs.uses import assert_never_shared
from tritium.errors import BadSpec, ModelFailed, Unplaceable
from tritium.infer import TaskReport, failures, read_reports
from tritium_discovery import claims, holds

pytestmark = pytest.mark.spark
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def double(device: Any) -> Any:
    import os

    assert os.environ["CUDA_VISIBLE_DEVICES"] == device.uuid
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    return lambda batch: batch["id"] * 2.0


def slowly(device: Any) -> Any:
    def predict(batch: Mapping[str, Any]) -> Any:
        time.sleep(1)
        return np.full(len(batch["id"]), device.uuid, dtype=object)

    return predict


def sizes(_: Any) -> Any:
    return lambda batch: np.full(len(batch["id"]), len(batch["id"]))


def test_every_row_keeps_its_place_and_its_columns(spark: SparkSession) -> None:
    rows = spark.range(0, 1000, 1, 3).selectExpr(
        "id",
        "cast(id as string) as name",
        "array(cast(id as float), 0.5f) as x",
        "named_struct('a', id) as s",
    )

    out = tritium.predict(rows, model=double, input=["id"], batch_size=64)

    assert out.schema.simpleString() == (
        "struct<id:bigint,name:string,x:array<float>,s:struct<a:bigint>,prediction:double>"
    )
    got = out.collect()
    assert [row.id for row in got] == list(range(1000))
    assert [row.prediction for row in got] == [2.0 * n for n in range(1000)]
    assert [(row.name, row.x, row.s.a) for row in got] == [(str(n), [n, 0.5], n) for n in range(1000)]


def test_batches_have_the_models_size_across_those_of_arrow_and_the_tail_is_not_lost(
    spark: SparkSession,
) -> None:
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "7")
    try:
        out = tritium.predict(
            spark.range(0, 25, 1, 1), model=sizes, output="rows int", batch_size=10
        ).collect()
    finally:
        spark.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")

    assert [row.rows for row in out] == [10] * 20 + [5] * 5


def test_several_outputs_are_typed_by_their_declaration(spark: SparkSession) -> None:
    def load(_: Any) -> Any:
        def predict(batch: Mapping[str, Any]) -> Mapping[str, Any]:
            rows = len(batch["id"])
            return {
                "scores": np.tile([0.25, 0.75], (rows, 1)),
                "label": np.ones(rows),
                "word": ["yes"] * rows,
                "unsure": [None] * rows,
            }

        return predict

    output = "label int, scores array<float>, word string, unsure double"
    out = tritium.predict(spark.range(3), model=load, output=output)

    assert out.schema.simpleString() == f"struct<id:bigint,{output.replace(' ', ':').replace(',:', ',')}>"
    assert [tuple(row) for row in out.collect()] == [(n, 1, [0.25, 0.75], "yes", None) for n in range(3)]


def test_the_model_is_loaded_with_its_path_and_not_for_tasks_without_rows(
    spark: SparkSession, tmp_path: Path
) -> None:
    def load(_: Any, path: Path) -> Any:
        with path.with_name("loads").open("a") as file:
            file.write("x")
        return lambda batch: batch["id"]

    rows = spark.range(0, 3, 1, 6)
    assert [len(part) for part in rows.rdd.glom().collect()].count(0) == 3
    (tmp_path / "model").mkdir()

    tritium.predict(
        rows, model=load, model_path=tmp_path / "model", batch_size=1, report=tmp_path / "report"
    ).collect()

    reports = read_reports(tmp_path / "report")
    assert len(reports) == 3
    assert len((tmp_path / "loads").read_text()) == len({report.owner for report in reports})


def test_a_model_that_was_trained_anew_to_the_same_path_is_loaded_anew(
    spark: SparkSession, tmp_path: Path
) -> None:
    """All devices are the old owners': they give way."""

    def load(_: Any, path: Path) -> Any:
        weight = int((path / "w").read_text())
        return lambda batch: batch["id"] * weight

    model, devices = tmp_path / "model", 4
    model.mkdir()
    answers = tritium.predict(
        spark.range(1, 3, 1, 2),
        model=load,
        model_path=model,
        gpu=devices,
        wait_s=20.0,
    )

    got = []
    for weight in (1, 2, 3):
        (model / "w").write_text(str(weight))
        got += [[row.prediction for row in answers.collect()] for _ in range(2)]

    assert got == [[1, 2], [1, 2], [2, 4], [2, 4], [3, 6], [3, 6]]


def test_one_model_serves_all_queries_of_a_session_and_all_tasks_of_an_executor(
    spark: SparkSession, tmp_path: Path
) -> None:
    def load(devices: Any) -> Any:
        (tmp_path / f"{devices[0].uuid}-{time.time_ns()}").touch()
        return lambda batch: batch["id"]

    for _ in range(2):
        rows = tritium.predict(spark.range(0, 1000, 1, 24), model=load, gpu=4).collect()
        assert [row.prediction for row in rows] == list(range(1000))

    assert len(list(tmp_path.iterdir())) == 2, "one for the four devices of each executor"


def test_the_report_says_which_task_used_which_device_and_how_fast(
    spark: SparkSession, tmp_path: Path, state: Path
) -> None:
    rows = spark.range(0, 100, 1, 4)

    used = {row.prediction for row in tritium.predict(
        rows, model=slowly, output="prediction string", report=tmp_path / "report", keep_s=0
    ).collect()}  # fmt: skip

    reports = read_reports(tmp_path / "report")
    assert [report.task for report in reports] == [0, 1, 2, 3]
    assert [report.rows for report in reports] == [25] * 4
    assert {report.device for report in reports} == used
    assert all(1 <= report.predict_s <= report.seconds for report in reports)
    assert all(0 < report.rows_per_s <= 25 for report in reports)
    assert {report.executor for report in reports} <= {"executor 0", "executor 1"}
    eventually(lambda: not holds.held(state), limit_s=30)


@pytest.mark.parametrize("who", ["owner", "task"])
def test_a_killed_owner_or_task_costs_no_row_and_no_device(
    spark: SparkSession, tmp_path: Path, state: Path, who: str
) -> None:
    def die_once(me: str) -> None:
        import os
        import signal

        if me == who and not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def load(_: Any) -> Any:
        def predict(batch: Mapping[str, Any]) -> Any:
            die_once("owner")
            return batch["id"]

        return predict

    def preprocess(batch: Mapping[str, Any]) -> Mapping[str, Any]:
        die_once("task")
        return batch

    options = {"preprocess": preprocess, "batch_size": 10, "report": tmp_path / "report", "keep_s": 0}
    out = tritium.predict(spark.range(0, 100, 1, 2), model=load, **options)  # type: ignore[arg-type]  # as named

    assert [row.prediction for row in out.collect()] == list(range(100))
    assert (tmp_path / "killed").exists()
    assert len(read_reports(tmp_path / "report")) == 2
    eventually(lambda: not holds.held(state), limit_s=30)


def owned_by(reports: Iterable[TaskReport]) -> Iterator[tuple[str, float, float]]:
    """When each owner was at work on which device: from the first of its tasks to the last."""
    for (device, _), tasks in groupby(
        sorted(reports, key=attrgetter("device", "owner")), key=attrgetter("device", "owner")
    ):
        spans = [(task.began, task.began + task.load_s + task.seconds) for task in tasks]
        yield device, min(began for began, _ in spans), max(ended for _, ended in spans)


def test_two_jobs_at_the_same_time_never_hold_the_same_device(
    spark: SparkSession, tmp_path: Path, state: Path
) -> None:
    def run(name: str) -> None:
        rows = spark.range(0, 80, 1, 8)
        tritium.predict(rows, model=slowly, output="prediction string", report=tmp_path / name).collect()

    jobs = [threading.Thread(target=run, args=(name,)) for name in ("a", "b")]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()

    reports = [report for name in ("a", "b") for report in read_reports(tmp_path / name)]
    assert len(reports) == 16
    assert_never_shared(owned_by(reports))
    owned = {device.uuid for claim in claims.live(state) for device in claim.devices}
    assert {report.device for report in reports} <= owned


def fails_to_load(_: Any) -> Any:
    raise ValueError("no weights\nin the second line either")


def fails_to_predict(_: Any) -> Any:
    def predict(batch: Mapping[str, Any]) -> Any:
        return batch["nothing"]

    return predict


def too_short(_: Any) -> Any:
    return lambda batch: batch["id"][1:]


def misnamed(_: Any) -> Any:
    return lambda batch: {"other": batch["id"]}


ACTIONS: Mapping[str, Callable[[DataFrame, Path], object]] = {
    "collect": lambda frame, _: frame.collect(),
    "write": lambda frame, folder: frame.write.parquet(str(folder)),
}


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
@pytest.mark.parametrize(
    ("model", "cause"),
    [
        (fails_to_load, "load failed: ValueError: no weights"),
        (fails_to_predict, "predict failed: KeyError: 'nothing'"),
    ],
)
def test_a_failing_model_is_one_sentence_with_the_users_own_traceback(
    spark: SparkSession, tmp_path: Path, *, model: Any, cause: str, action: Any
) -> None:
    out = tritium.predict(spark.range(0, 5, 1, 1), model=model)

    with pytest.raises(ModelFailed) as caught, failures():
        action(out, tmp_path / "out")

    error = caught.value
    assert str(error) == f"inference task 0 on {error.device}: {cause}"
    assert error.device.startswith("GPU-")
    assert "test_predict.py" in error.trace
    assert "org.apache" not in error.trace
    assert "tritium/infer" not in error.trace


@pytest.mark.parametrize(
    ("model", "cause"),
    [
        (too_short, "prediction: 4 rows for a batch of 5"),
        (misnamed, "it has the columns other; declared are prediction"),
    ],
)
def test_an_answer_that_does_not_fit_is_the_models_failure(
    spark: SparkSession, model: Any, cause: str
) -> None:
    with pytest.raises(ModelFailed) as caught, failures():
        tritium.predict(spark.range(0, 5, 1, 1), model=model).collect()

    assert caught.value.cause == f"predict returned what does not fit: ValueError: {cause}"


def test_rows_that_no_array_can_hold_are_named(spark: SparkSession) -> None:
    rows = spark.createDataFrame([(1, None), (2, 0.5)], "id long, x double").coalesce(1)

    with (
        pytest.raises(ModelFailed, match="rows do not fit predict: ValueError: x: 1 of 2 values are null"),
        failures(),
    ):
        tritium.predict(rows, model=double).collect()


def test_a_device_that_will_not_do_is_refused_with_its_numbers(spark: SparkSession) -> None:
    with pytest.raises(Unplaceable, match="inference task 0: no device of executor") as caught, failures():
        tritium.predict(spark.range(0, 5, 1, 1), model=double, min_memory_mib=50_000).collect()

    assert any("40960 MiB, 50000 needed" in reason for reason in caught.value.reasons)


def test_all_wrong_arguments_are_named_at_once(spark: SparkSession) -> None:
    with pytest.raises(BadSpec) as caught:
        tritium.predict(
            spark.range(3), model=double, input=["x"], output="id int", batch_size=0, policy="best", gpu=-1,
            model_path=lambda query, batch: Path(query, str(batch)),
        )  # fmt: skip

    assert str(caught.value).splitlines() == [
        "predict: input: there is no column 'x'; there are id",
        "predict: output: there is a column 'id' already; drop it or choose another name",
        "predict: batch_size: expected an integer >= 1, got 0",
        "predict: gpu: expected an integer >= 0, got -1",
        "predict: model_path: a function is asked per micro-batch, and df is no stream; give a path",
        "predict: policy: 'best' is unknown; there are packed, spread",
    ]


def test_a_name_that_is_there_twice_is_refused(spark: SparkSession) -> None:
    with pytest.raises(BadSpec) as caught:
        tritium.predict(spark.range(1), model=double, input=["id", "id"], output="y int, y int")

    assert "input: 'id' is there 2 times" in str(caught.value)
    assert "output: 'y' is there 2 times" in str(caught.value)


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("int", "output: 'int' is a type without a name; say 'prediction int'"),
        ("a b c", "output: 'a b c' declares no columns"),
        ("", "output: '' declares no columns\npredict: input: the model gets no columns; name at least one"),
    ],
)
def test_a_declaration_without_columns_is_refused(spark: SparkSession, output: str, sentence: str) -> None:
    with pytest.raises(BadSpec, match=sentence):
        tritium.predict(spark.range(3), model=double, output=output, input=["id"] if output else [])


def test_rows_that_fail_are_put_aside_and_the_job_goes_on(spark: SparkSession) -> None:
    def load(_: Any) -> Any:
        def predict(batch: Mapping[str, Any]) -> Any:
            if (batch["x"] == 13).any():
                raise ValueError("thirteen is unlucky")
            return batch["x"]

        return predict

    rows = spark.range(0, 100, 1, 2).selectExpr("id", "if(id = 50, null, double(id)) as x")
    out = tritium.predict(rows, model=load, input=["x"], on_error="quarantine", batch_size=32)

    assert out.schema["error"].dataType.simpleString() == "struct<step:string,type:string,message:string>"
    got = out.collect()
    assert [row.prediction for row in got] == [None if n in (13, 50) else n for n in range(100)]
    assert {row.id: row.error.step for row in got if row.error} == {13: "predict", 50: "decode"}
    assert got[13].error.message == "thirteen is unlucky"


def test_a_model_that_fails_on_everything_fails_the_job_whatever_is_said(spark: SparkSession) -> None:
    with pytest.raises(ModelFailed, match="predict failed: KeyError"), failures():
        tritium.predict(spark.range(1000), model=fails_to_predict, on_error="quarantine").collect()


def test_without_devices_it_runs_on_the_cpu(spark: SparkSession, tmp_path: Path) -> None:
    def load(device: Any) -> Any:
        assert device is None
        return lambda batch: batch["id"] + 1

    out = tritium.predict(spark.range(100), model=load, gpu=0, report=tmp_path)

    assert [row.prediction for row in out.collect()] == list(range(1, 101))
    assert {report.device for report in read_reports(tmp_path)} == {None}


def test_rows_of_different_lengths_are_padded_by_bucket_and_stay_in_order(
    spark: SparkSession, tmp_path: Path
) -> None:
    buckets = (4, 16, 64)

    def load(_: Any) -> Any:
        def predict(batch: Mapping[str, Any]) -> Mapping[str, Any]:
            x, lengths = batch["x"], batch["x_length"]
            assert x.shape[1] in buckets
            assert len(x) <= 8
            assert min(width for width in buckets if width >= lengths.max()) == x.shape[1]
            assert min(width for width in buckets if width >= lengths.min()) == x.shape[1]
            if 33 in lengths:
                raise ValueError("a length of 33")
            width = np.full(len(x), x.shape[1])
            return {"total": np.where(x >= 0, x, 0).sum(axis=1), "width": width}

        return predict

    rows = spark.range(0, 300, 1, 2).selectExpr(
        "id",
        "if(id = 200, null, array_repeat(int(id), 1 + int(pow(id * 7919 % 211, 2) / 640))) as x",
    )
    out = tritium.predict(
        rows,
        model=load,
        input=["x"],
        output="total long, width int",
        pad={"x": -1},
        buckets=buckets,
        batch_size=8,
        on_error="quarantine",
        report=tmp_path,
    ).collect()

    assert [row.id for row in out] == list(range(300))
    bad = {row.id: row.error.message for row in out if row.error is not None}
    for row in out:
        if row.id not in bad:
            assert row.total == sum(row.x)
            assert row.width == min(width for width in buckets if width >= len(row.x))
    lengths = {row.id: len(row.x) if row.x is not None else None for row in out}
    assert bad == {
        **{n: "a length of 33" for n, length in lengths.items() if length == 33},
        **{
            n: f"x: a row of {length} elements, 64 are the most"
            for n, length in lengths.items()
            if length and length > 64
        },
        200: "x: 1 of 1 values are null; fill or drop them first",
    }
    assert {"a length of 33"} < set(bad.values())
    assert sum(report.rows for report in read_reports(tmp_path)) == 300


def test_what_cannot_be_padded_is_refused(spark: SparkSession) -> None:
    rows = spark.range(3).selectExpr("id", "array(id) as x", "1 as x_length")

    with pytest.raises(BadSpec) as caught:
        tritium.predict(rows, model=double, pad={"id": 0, "x": 0, "y": 0}, buckets=(8, 4), batches="arrow")

    assert str(caught.value).splitlines() == [
        "predict: pad: 'id' is bigint; only arrays differ in length",
        "predict: pad: there is an input x_length already, which would be the length of x",
        "predict: pad: 'y' is no input of the model; there are id, x, x_length",
        "predict: pad: an Arrow batch has lists of different lengths as they are",
        "predict: buckets: expected ascending integers >= 1, got (8, 4)",
    ]


def test_rows_that_have_an_error_already_go_to_no_model_and_keep_it(spark: SparkSession) -> None:
    rows = spark.range(0, 10, 1, 1).selectExpr(
        "id",
        "if(id in (0, 7), named_struct('step', 'decode', 'type', 'Bad', 'message', 'odd'), null) as error",
    )

    out = tritium.predict(rows, model=double, batch_size=4)

    assert out.columns == ["id", "prediction", "error"]
    got = out.collect()
    assert [row.prediction for row in got] == [None if n in (0, 7) else 2.0 * n for n in range(10)]
    assert {row.id: row.error.message for row in got if row.error} == dict.fromkeys((0, 7), "odd")
