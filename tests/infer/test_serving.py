"""What a loaded model answers: of every form, in parts if it must, with the bad rows named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritium.infer.failure import Broken, Failure
from tritium.infer.forms import Form
from tritium.infer.serving import Model


def model(
    predict: Callable[[Any], Any],
    *,
    output: tuple[str, ...] = ("y",),
    quarantine: bool = False,
    form: Form = "numpy",
) -> Model:
    return Model(predict, output, quarantine, form)


def rows(*x: float) -> Callable[[], Mapping[str, Any]]:
    return lambda: {"x": np.array(x)}


@pytest.mark.parametrize(
    "predict",
    [
        lambda batch: batch["x"] * 2,
        lambda batch: {"y": batch["x"] * 2},
        lambda batch: [2 * x for x in batch["x"]],
    ],
    ids=["array", "mapping", "list"],
)
def test_an_answer_may_be_an_array_a_mapping_or_a_list(predict: Any) -> None:
    answer = model(predict).answer(rows(1, 2), 2)

    assert answer.values["y"].tolist() == [2, 4]


def test_lists_of_different_lengths_stay_lists() -> None:
    answer = model(lambda _: [[1], [2, 3]]).answer(rows(1, 2), 2)

    assert answer.values["y"] == [[1], [2, 3]]


@pytest.mark.torch
def test_tensors_come_off_their_device_and_out_of_types_that_arrow_lacks() -> None:
    import torch

    answer = model(lambda batch: torch.tensor(batch["x"], dtype=torch.bfloat16, requires_grad=True)).answer(
        rows(1, 2), 2
    )

    assert answer.values["y"].dtype == np.float32
    assert answer.values["y"].tolist() == [1, 2]


def no_three(batch: Mapping[str, Any]) -> Any:
    if 3 in batch["x"]:
        raise ValueError("three\nis not allowed")
    return batch["x"]


def test_the_guilty_row_is_named_and_the_others_are_answered() -> None:
    answer = model(no_three, quarantine=True).answer(rows(1, 2, 3, 4), 4)

    assert answer.values["y"].tolist() == [1, 2, 4]
    assert [(bad.row, bad.step, bad.kind, bad.message) for bad in answer.bad] == [
        (2, "predict", "ValueError", "three")
    ]


def test_a_failure_names_the_users_line_and_not_ours() -> None:
    with pytest.raises(Failure) as caught:
        model(no_three).answer(rows(3), 1)

    assert caught.value.cause == "predict failed: ValueError: three"
    assert "no_three" in caught.value.trace
    assert "infer/serving.py" not in caught.value.trace


@pytest.mark.parametrize(
    ("predict", "cause"),
    [
        (lambda batch: batch["x"][1:], "ValueError: y: 1 rows for a batch of 2"),
        (lambda batch: {"z": batch["x"]}, "ValueError: it has the columns z; declared are y"),
        (lambda _: None, "ValueError: y: None is no column of 2 rows"),
    ],
    ids=["length", "name", "none"],
)
@pytest.mark.parametrize("quarantine", [False, True])
def test_an_answer_of_the_wrong_form_is_the_programs_mistake_and_no_rows(
    predict: Any, cause: str, *, quarantine: bool
) -> None:
    with pytest.raises(Failure) as caught:
        model(predict, quarantine=quarantine).answer(rows(1, 2), 2)

    assert caught.value.cause == f"predict returned what does not fit: {cause}"


def test_a_model_that_would_end_its_process_fails_instead() -> None:
    def leaves(_: Any) -> Any:
        raise SystemExit(3)

    with pytest.raises(Failure) as caught:
        model(leaves, quarantine=True).answer(rows(1, 2), 2)

    assert caught.value.cause == "predict failed: SystemExit: 3"


def test_a_model_that_works_no_more_on_what_it_could_is_broken() -> None:
    ill = False

    def predict(batch: Mapping[str, Any]) -> Any:
        if ill:
            raise RuntimeError("CUDA error: device-side assert triggered")
        return batch["x"]

    sick = model(predict, quarantine=True)
    sick.answer(rows(1, 2), 2)
    ill = True

    with pytest.raises(Broken, match="device-side assert"):
        sick.answer(rows(3, 4), 2)


def test_a_model_that_hangs_on_what_it_could_is_seen_to_be_running() -> None:
    """Else nobody would notice: a row is bad, and the model is tried with one that went well before."""
    seen: list[tuple[int, bool]] = []

    def predict(batch: Mapping[str, Any]) -> Any:
        seen.append((len(batch["x"]), found.called is not None))
        return no_three(batch)

    found = model(predict, quarantine=True)
    found.answer(rows(1), 1)
    found.answer(rows(3), 1)

    assert seen == [(1, True), (1, True), (1, True)]
    assert found.called is None


def test_a_model_that_would_end_its_process_where_it_could_predict_is_broken() -> None:
    calls = 0

    def predict(batch: Mapping[str, Any]) -> Any:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise SystemExit(3)
        return no_three(batch)

    sick = model(predict, quarantine=True)
    sick.answer(rows(1), 1)

    with pytest.raises(Broken, match="three"):
        sick.answer(rows(3), 1)


def test_a_batch_of_bad_rows_only_does_not_break_a_model_that_still_works() -> None:
    well = model(no_three, quarantine=True)
    well.answer(rows(1), 1)

    answer = well.answer(rows(3, 3), 2)

    assert [bad.row for bad in answer.bad] == [0, 1]


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=20),
    poison=st.sets(st.integers(0, 19), max_size=3),
    most=st.sampled_from([2, 5, 20]),
)
def test_a_model_whose_answers_are_as_wide_as_the_longest_of_its_batch_may_be_asked_in_parts(
    lengths: list[int], poison: set[int], most: int
) -> None:
    def predict(batch: Mapping[str, Any]) -> Any:
        x, lengths = batch["x"], batch["length"]
        if len(x) > most:
            raise MemoryError
        if {*x.tolist()} & poison:
            raise ValueError("poison")
        inside = np.arange(lengths.max()) < lengths[:, None]
        return {
            "ids": np.where(inside, x[:, None], -1),
            "logits": np.where(inside, 1, 0)[:, :, None] * [1, 2],
        }

    columns = {"x": np.arange(len(lengths)), "length": np.array(lengths)}
    good = [row for row in range(len(lengths)) if row not in poison]

    answer = model(predict, output=("ids", "logits"), quarantine=True).answer(lambda: columns, len(lengths))

    assert [[n for n in ids if n != -1] for ids in answer.values["ids"]] == [[n] * lengths[n] for n in good]
    assert [int(np.sum(logits)) for logits in answer.values["logits"]] == [3 * lengths[n] for n in good]
    assert [bad.row for bad in answer.bad] == [row for row in range(len(lengths)) if row in poison]


def test_too_little_memory_halves_the_batch_and_is_remembered() -> None:
    sizes = []

    def predict(batch: Mapping[str, Any]) -> Any:
        sizes.append(len(batch["x"]))
        if len(batch["x"]) > 3:
            raise MemoryError
        return batch["x"]

    small = model(predict)
    answers = [small.answer(rows(*range(8)), 8) for _ in range(2)]

    assert sizes == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2]
    assert [answer.values["y"].tolist() for answer in answers] == [list(range(8))] * 2
    assert answers[1].most == 2


def arrow_rows(*x: float | None) -> Callable[[], pa.RecordBatch]:
    return lambda: pa.RecordBatch.from_pydict({"x": pa.array(x, pa.float64())})


@pytest.mark.parametrize(
    "predict",
    [
        lambda batch: pc.multiply(batch["x"], 2),
        lambda batch: pa.RecordBatch.from_arrays([pc.multiply(batch["x"], 2)], names=["y"]),
        lambda batch: pa.table({"y": pa.chunked_array([pc.multiply(batch["x"], 2)])}),
        lambda batch: [x and 2 * x for x in batch["x"].to_pylist()],
    ],
    ids=["array", "batch", "table", "list"],
)
def test_a_model_may_get_an_arrow_batch_with_nulls_and_answer_in_arrow(predict: Any) -> None:
    answer = model(predict, form="arrow").answer(arrow_rows(1, None, 3), 3)

    assert answer.values["y"].tolist() == [2, None, 6]


def test_guilty_rows_and_too_little_memory_are_found_in_arrow_batches_too() -> None:
    ill = False

    def predict(batch: pa.RecordBatch) -> Any:
        if batch.num_rows > 2:
            raise MemoryError
        if ill or 3 in batch["x"].to_pylist():
            raise ValueError("three")
        return batch["x"]

    found = model(predict, form="arrow", quarantine=True)
    answer = found.answer(arrow_rows(1, 2, 3, None, 5), 5)

    assert list(answer.values["y"]) == [1, 2, None, 5]
    assert [bad.row for bad in answer.bad] == [2]
    assert answer.most == 2
    ill = True
    with pytest.raises(Broken, match="predict failed: ValueError: three"):
        found.answer(arrow_rows(1), 1)


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["bool", "int8", "int64", "float16", "float64", "complex64"])
def test_tensors_have_the_type_and_the_shape_of_the_arrays_batch_after_batch(kind: str) -> None:
    import torch

    shapes = [(3, 2), (5, 4), (2, 7), (0, 2), (4,)]

    def predict(columns: Mapping[str, torch.Tensor]) -> torch.Tensor:
        assert columns["x"].dtype == getattr(torch, kind)
        return columns["x"].reshape(len(columns["x"]), -1)

    found = model(predict, form="torch")

    for shape in shapes:
        array = np.arange(np.prod(shape)).reshape(shape).astype(kind)
        answer = found.answer(partial(dict, x=array), len(array)).values["y"]
        assert answer.tolist() == array.reshape(len(array), int(np.prod(shape[1:]))).tolist()


@pytest.mark.torch
def test_a_column_that_no_tensor_can_hold_is_named_once_and_for_all_rows() -> None:
    def words() -> Mapping[str, Any]:
        return {"word": np.array(["a", "b"], dtype=object)}

    with pytest.raises(Failure, match="no tensor can hold the column word: TypeError: can't convert"):
        model(lambda batch: batch, form="torch", quarantine=True).answer(words, 2)
