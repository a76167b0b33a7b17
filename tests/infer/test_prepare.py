"""Before and behind the model: decoding, preprocessing and encoding, with bad rows put aside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritium.infer.buckets import Padding
from tritium.infer.extend import Extend
from tritium.infer.failure import Failure
from tritium.infer.feeder import Answered, Fed
from tritium.infer.parts import Bad
from tritium.infer.prepare import Prepare
from tritium.infer.serving import Answer, joined

ERROR = ("error", pa.struct([("step", pa.string()), ("type", pa.string()), ("message", pa.string())]))


def fed(batch: Mapping[str, Any], **options: Any) -> Fed:
    (found,) = Prepare(**{"columns": tuple(batch), "preprocess": None, "quarantine": True, **options}).feed(
        [pa.RecordBatch.from_pydict(dict(batch))]
    )
    return found


def test_a_null_is_put_aside_with_its_reason_and_the_rest_becomes_an_array() -> None:
    found = fed({"x": [1.0, None, 3.0, 4.0]})

    assert found.columns["x"].tolist() == [1, 3, 4]
    assert found.rows == 3
    assert [(bad.row, bad.step, bad.kind) for bad in found.bad] == [(1, "decode", "ValueError")]
    assert "null" in found.bad[0].message


def test_a_list_of_another_length_is_put_aside() -> None:
    found = fed({"x": [[1, 2], [3, 4], [5], [6, 7]]})

    assert found.columns["x"].tolist() == [[1, 2], [3, 4], [6, 7]]
    assert [bad.message for bad in found.bad] == ["x: rows of shape (1,); most of their batch have (2,)"]


def test_a_first_row_that_is_bad_costs_no_others() -> None:
    rows = pa.array([[1.0] * 3, *[[1.0] * 8] * 99], pa.list_(pa.float32()))
    whole = pa.RecordBatch.from_pydict({"x": rows})

    found = Prepare(columns=("x",), preprocess=None, quarantine=True).feed([whole[:50], whole[50:]])

    assert [(one.rows, [bad.row for bad in one.bad]) for one in found] == [(49, [0]), (50, [])]


def test_of_padded_lists_only_what_is_inside_must_have_one_shape() -> None:
    padding = Padding(fill={"x": 0}, buckets=())

    found = fed({"x": [[[1]], [[1, 2]], [[1, 2], [3, 4]]]}, padding=padding)

    assert found.columns["x"].tolist() == [[[1, 2], [0, 0]], [[1, 2], [3, 4]]]
    assert [bad.row for bad in found.bad] == [0]


def test_what_one_batch_has_says_nothing_of_the_next() -> None:
    """Else whether a row is bad hangs on which rows its task began with."""
    lists = pa.array([[], [], [], [1, 2], *[[3, 4]] * 4, *[[5, 6]] * 3, []], pa.list_(pa.int8()))
    whole = pa.RecordBatch.from_pydict({"x": lists})

    found = Prepare(columns=("x",), preprocess=None, quarantine=True).feed([whole[:4], whole[4:8], whole[8:]])

    assert [(one.rows, [bad.row for bad in one.bad]) for one in found] == [(3, [3]), (4, []), (3, [3])]


def test_a_first_batch_of_nulls_decides_no_shape() -> None:
    batches = [
        pa.RecordBatch.from_pydict({"x": pa.array(rows, pa.list_(pa.int8()))}) for rows in ([None], [[1, 2]])
    ]

    found = Prepare(columns=("x",), preprocess=None, quarantine=True).feed(batches)

    assert [one.rows for one in found] == [0, 1]


def test_without_quarantine_such_rows_are_a_failure() -> None:
    with pytest.raises(Failure, match="rows do not fit predict: ValueError: x: 1 of 2 values are null"):
        fed({"x": [1, None]}, quarantine=False)


def picky(columns: Mapping[str, Any]) -> Mapping[str, Any]:
    if (columns["x"] < 0).any():
        raise ArithmeticError("negative")
    return {"root": np.sqrt(columns["x"])}


def test_what_preprocess_fails_on_is_put_aside_under_its_place_in_the_batch() -> None:
    found = fed({"x": [None, 1.0, -1.0, 4.0]}, preprocess=picky)

    assert found.columns["root"].tolist() == [1, 2]
    assert [(bad.row, bad.step) for bad in found.bad] == [(0, "decode"), (2, "preprocess")]


@pytest.mark.parametrize("form", ["numpy", "arrow"])
@given(texts=st.lists(st.sampled_from(["a", "abcdef", "ab", "bad"]), min_size=1, max_size=20))
def test_what_preprocess_pads_to_the_longest_row_is_as_wide_without_the_bad_rows(
    form: Any, texts: list[str]
) -> None:
    def pads(columns: Any) -> Any:
        there = columns["x"].tolist() if form == "numpy" else columns["x"].to_pylist()
        if "bad" in there:
            raise ValueError("bad")
        width = max(map(len, there))
        wide = np.array([len(text) for text in there])[:, None] * np.ones(width)
        if form == "numpy":
            return {"n": wide, "width": np.full(len(there), width)}
        lists = pa.FixedSizeListArray.from_arrays(pa.array(wide.ravel()), width)
        return pa.RecordBatch.from_arrays([lists], names=["n"])

    good = [text for text in texts if text != "bad"]

    found = fed({"x": ["abc", *texts]}, preprocess=pads, form=form)

    widest = max(map(len, ["abc", *good]))
    expected = [[float(len(text))] * widest for text in ["abc", *good]]
    assert (found.columns["n"].tolist() if form == "numpy" else found.columns["n"].to_pylist()) == expected
    assert [bad.row for bad in found.bad] == [at for at, text in enumerate(texts, 1) if text == "bad"]
    assert found.rows == len(expected)


def test_a_preprocess_that_can_make_parts_only_and_of_other_widths_is_a_failure() -> None:
    def pads(columns: Mapping[str, Any]) -> Mapping[str, Any]:
        if len(columns["x"]) > 2:
            raise MemoryError("so many texts")
        return {"n": np.ones((len(columns["x"]), max(map(len, columns["x"]))))}

    with pytest.raises(Failure, match="preprocess failed: MemoryError: so many texts"):
        fed({"x": ["a", "a", "aa", "aa"]}, preprocess=pads)


def test_a_batch_of_which_nothing_is_left_goes_to_no_model() -> None:
    found = fed({"x": pa.array([None, None], pa.float64())})

    assert found.columns is None
    assert len(found.bad) == 2


@pytest.mark.parametrize("quarantine", [False, True])
def test_a_preprocess_that_loses_rows_is_a_mistake_of_the_program(*, quarantine: bool) -> None:
    with pytest.raises(Failure, match="preprocess returned what does not fit: x: 1 rows of 2"):
        fed({"x": [1, 2]}, preprocess=lambda columns: {"x": columns["x"][1:]}, quarantine=quarantine)


def extended(found: Fed, answer: Answer | None, *, quarantine: bool = True, kind: Any = None) -> list[Any]:
    output = (("y", kind or pa.int8()),)
    error = ERROR if quarantine else None
    extend = Extend(tuple(found.batch.schema.names), output, error, quarantine=quarantine)
    rows: list[Any] = extend.extended(Answered(fed=found, answer=answer, said=None)).to_pylist()
    return rows


def answer(values: Any, *bad: int) -> Answer:
    rows = tuple(Bad(row=row, step="predict", kind="ValueError", message="no") for row in bad)
    return Answer(values={"y": values}, bad=rows, predict_s=0, most=None)


def test_answers_stand_beside_their_rows_and_errors_beside_theirs() -> None:
    found = fed({"x": [None, 1.0, 2.0, 3.0]})

    rows = extended(found, answer(np.array([10, 30]), 1))

    assert [row["y"] for row in rows] == [None, 10, None, 30]
    assert [row["error"] and row["error"]["step"] for row in rows] == ["decode", None, "predict", None]
    assert [row["x"] for row in rows] == [None, 1, 2, 3]


@pytest.mark.parametrize("made", [np.int64, np.float32])
def test_answers_to_parts_of_different_widths_stand_beside_their_rows(made: Any) -> None:
    found = fed({"x": [1.0, 2.0, 3.0]}, quarantine=False)
    flat = joined([np.ones((2, 3), made), np.ones((1, 1), made)])
    deep = joined([np.ones((1, 2, 2), made), np.ones((2, 3, 2), made)])

    flat_rows = extended(found, answer(flat), quarantine=False, kind=pa.list_(pa.float64()))
    deep_rows = extended(found, answer(deep), quarantine=False, kind=pa.list_(pa.list_(pa.int32())))

    assert [row["y"] for row in flat_rows] == [[1, 1, 1], [1, 1, 1], [1]]
    assert [row["y"] for row in deep_rows] == [[[1, 1]] * 2, [[1, 1]] * 3, [[1, 1]] * 3]


def test_an_answer_that_does_not_fit_its_type_is_put_aside_too() -> None:
    rows = extended(fed({"x": [1.0, 2.0, 3.0]}), answer(np.array([1, 1000, 3])))

    assert [row["y"] for row in rows] == [1, None, 3]
    assert rows[1]["error"]["step"] == "encode"


def test_a_batch_of_which_no_answer_fits_has_nulls_and_its_errors() -> None:
    rows = extended(fed({"x": [1.0, None, 3.0]}), answer(np.array([1000, 2000])))

    assert [row["y"] for row in rows] == [None] * 3
    assert [row["error"]["step"] for row in rows] == ["encode", "decode", "encode"]


def test_without_quarantine_it_is_a_failure_and_there_is_no_column_for_errors() -> None:
    found = fed({"x": [1.0]}, quarantine=False)

    assert extended(found, answer(np.array([1])), quarantine=False) == [{"x": 1, "y": 1}]
    with pytest.raises(Failure, match="predict returned what does not fit"):
        extended(found, answer(np.array([1000])), quarantine=False)


def test_a_batch_without_an_answer_has_nulls() -> None:
    rows = extended(fed({"x": pa.array([None], pa.float64())}), None)

    assert [row["y"] for row in rows] == [None]


def test_an_arrow_batch_keeps_what_no_array_can_hold() -> None:
    found = fed({"x": [[1, 2], None, [3]], "s": ["a", None, "b"]}, columns=("x",), form="arrow")

    assert found.columns.to_pydict() == {"x": [[1, 2], None, [3]]}
    assert not found.bad


def longer(batch: pa.RecordBatch) -> pa.RecordBatch:
    if None in batch["x"].to_pylist():
        raise ValueError("null")
    return pa.RecordBatch.from_pydict({"twice": [x * 2 for x in batch["x"].to_pylist()]})


def test_preprocess_of_arrow_batches_gets_and_returns_them() -> None:
    found = fed({"x": ["a", None, "b"]}, preprocess=longer, form="arrow")

    assert found.columns.to_pydict() == {"twice": ["aa", "bb"]}
    assert [(bad.row, bad.step) for bad in found.bad] == [(1, "preprocess")]


@pytest.mark.parametrize(
    ("preprocess", "sentence"),
    [
        (lambda _: {"x": [1]}, "a dict where a RecordBatch was given"),
        (lambda batch: batch.slice(1), "the batch: 1 rows of 2"),
    ],
)
def test_what_else_it_returns_is_a_mistake_of_the_program(preprocess: Any, sentence: str) -> None:
    with pytest.raises(Failure, match=f"preprocess returned what does not fit: {sentence}"):
        fed({"x": [1, 2]}, preprocess=preprocess, form="arrow")


@pytest.mark.torch
def test_preprocess_may_return_tensors() -> None:
    import torch

    found = fed({"x": [1.0, 2.0]}, preprocess=lambda columns: {"t": torch.tensor(columns["x"])[:, None]})

    assert isinstance(found.columns["t"], np.ndarray)
    assert found.columns["t"].tolist() == [[1], [2]]


def test_rows_that_failed_before_go_to_no_model_and_keep_their_error() -> None:
    errors = [None, {"step": "decode", "type": "BadValue", "message": "no JSON"}, None]
    batch = {"x": [1.0, None, -4.0], "error": pa.array(errors, ERROR[1])}

    found = fed(batch, columns=("x",), failed="error", preprocess=picky)

    assert found.columns["root"].tolist() == [1]
    assert [(bad.row, bad.step, bad.message) for bad in found.bad] == [
        (1, "decode", "no JSON"),
        (2, "preprocess", "negative"),
    ]
    with pytest.raises(Failure, match="preprocess failed: ArithmeticError: negative"):
        fed(batch, columns=("x",), failed="error", preprocess=picky, quarantine=False)


def test_a_batch_of_which_every_row_failed_before_goes_to_no_model() -> None:
    errors = [{"step": "decode", "type": "BadValue", "message": "no JSON"}] * 2

    found = fed({"b": [b"x", None], "error": pa.array(errors, ERROR[1])}, columns=("b",), failed="error")

    assert found.columns is None
    assert [bad.row for bad in found.bad] == [0, 1]
