"""What a model answers, or preprocess returns, arrives whole, whatever it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritium.columns import to_arrow
from tritium.infer.failure import Failure
from tritium.infer.forms import plain
from tritium.infer.prepare import Prepare
from tritium.infer.serving import Answer, Model

TWO = pa.RecordBatch.from_pydict({"x": [1.0, 2.0]})


def answered(values: Any, *, quarantine: bool = False, rows: int = 2) -> Answer:
    return Model(lambda _: values, ("y",), quarantine).answer(lambda: {"x": np.ones(rows)}, rows)


def arrived(values: Any, kind: pa.DataType) -> list[Any]:
    found: list[Any] = to_arrow(answered(values, rows=len(values)).values["y"], kind).to_pylist()
    return found


ENDS_IN_NULS = st.lists(st.integers(0, 2).map(lambda count: b"a" + count * b"\0"), min_size=1, max_size=4)


@given(cells=ENDS_IN_NULS)
def test_nuls_at_the_end_of_bytes_and_texts_stay(cells: list[bytes]) -> None:
    texts = [cell.decode() for cell in cells]

    assert arrived(cells, pa.binary()) == cells
    assert arrived(tuple(cells), pa.binary()) == cells
    assert arrived(texts, pa.string()) == texts
    assert arrived([[cell] for cell in cells], pa.list_(pa.binary())) == [[cell] for cell in cells]
    assert arrived([cells[:at] for at in range(3)], pa.list_(pa.binary())) == [cells[:at] for at in range(3)]


def test_one_long_text_does_not_make_the_others_as_large() -> None:
    found = plain(["a" * 1_000_000, *["b"] * 1_000])

    assert found.nbytes < 10_000


def test_a_number_is_no_text_because_there_is_a_text_beside_it() -> None:
    with pytest.raises(ValueError, match="cannot make string of object"):
        arrived([1, "a"], pa.string())


def test_texts_of_numpy_may_be_in_lists() -> None:
    labels = np.array(["cat", "dog"])

    assert arrived([labels[1], labels[0]], pa.string()) == ["dog", "cat"]
    assert arrived([labels, labels[:1]], pa.list_(pa.string())) == [["cat", "dog"], ["cat"]]
    assert arrived([labels, labels], pa.list_(pa.string())) == [["cat", "dog"]] * 2


@pytest.mark.parametrize("parts", [False, True])
def test_what_preprocess_returns_keeps_its_nuls_too(*, parts: bool) -> None:
    def preprocess(columns: Mapping[str, Any]) -> Mapping[str, Any]:
        if parts and len(columns["x"]) > 1:
            raise MemoryError
        return {"raw": [np.float32(x).tobytes() for x in columns["x"]]}

    (found,) = Prepare(columns=("x",), preprocess=preprocess, quarantine=False).feed([TWO])

    assert found.columns["raw"].tolist() == [b"\0\0\x80?", b"\0\0\0@"]
    zeros = pa.RecordBatch.from_pydict({"x": [0.0, 0.0]})
    (found,) = Prepare(columns=("x",), preprocess=preprocess, quarantine=False).feed([zeros])
    assert found.columns["raw"].tolist() == [b"\0\0\0\0"] * 2


@pytest.mark.parametrize(
    "masked",
    [np.ma.masked_array([1.0, 2.0], [True, False]), [np.ma.masked_array([1.0], [True])] * 2],
    ids=["array", "list"],
)
@pytest.mark.parametrize("quarantine", [False, True])
def test_masked_values_are_refused_and_not_told_as_numbers(masked: Any, *, quarantine: bool) -> None:
    with pytest.raises(Failure, match=r"predict returned what does not fit: TypeError: \d values are masked"):
        answered(masked, quarantine=quarantine)
    prepare = Prepare(columns=("x",), preprocess=lambda _: {"x": masked}, quarantine=quarantine)
    with pytest.raises(Failure, match=r"preprocess returned what does not fit: \d values are masked"):
        list(prepare.feed([TWO]))


def test_a_mask_of_nothing_is_none() -> None:
    assert arrived(np.ma.masked_array([1.0, 2.0]), pa.float64()) == [1, 2]


@pytest.mark.parametrize(
    "element",
    [
        pa.string(), pa.binary(), pa.int32(), pa.bool_(), pa.decimal128(9, 2), pa.timestamp("us", "UTC"),
        pa.list_(pa.float32()), pa.struct([("x", pa.int32())]),
    ],
    ids=str,
)  # fmt: skip
def test_lists_may_all_be_empty(element: pa.DataType) -> None:
    assert arrived([[], [], []], pa.list_(element)) == [[], [], []]
    assert arrived([[[]], [[]]], pa.list_(pa.list_(element))) == [[[]], [[]]]
    assert arrived([[], [[]]], pa.list_(pa.list_(element))) == [[], [[]]]
    with pytest.raises(ValueError, match="rows of 0 elements"):
        arrived([[], []], pa.list_(element, 2))


def test_arrays_of_rows_of_different_numbers_become_lists_of_lists() -> None:
    boxes = [np.ones((2, 2)), np.zeros((1, 2)), np.ones((0, 2))]

    assert arrived(boxes, pa.list_(pa.list_(pa.int8()))) == [[[1, 1], [1, 1]], [[0, 0]], []]


@pytest.mark.torch
def test_tensors_may_be_in_lists() -> None:
    import torch

    grown = torch.ones(2, requires_grad=True)
    half = torch.ones(2, dtype=torch.bfloat16)

    floats = pa.list_(pa.float32())
    assert arrived([torch.ones(2), torch.ones(3)], floats) == [[1, 1], [1, 1, 1]]
    assert arrived([grown, grown], floats) == arrived([half, half], floats) == [[1, 1], [1, 1]]
    assert arrived((grown, grown[:1]), floats) == [[1, 1], [1]]
    assert arrived([grown[0], grown[1]], pa.float32()) == [1, 1]
    assert arrived([[grown, grown], [half]], pa.list_(floats)) == [[[1, 1], [1, 1]], [[1, 1]]]


@pytest.mark.torch
def test_what_no_array_can_be_made_of_is_a_mistake_of_the_program_and_not_of_the_rows() -> None:
    import torch

    for values in ([1.0, torch.ones((), requires_grad=True)], torch.ones(2, device="meta")):
        with pytest.raises(Failure, match="predict returned what does not fit: TypeError: "):
            answered(values, quarantine=True)


@pytest.mark.parametrize("error", [type("LateError", (RuntimeError,), {}), RuntimeError])
def test_what_a_framework_finds_as_late_as_here_may_be_a_rows_fault(error: type[Exception]) -> None:
    """JAX computes when it is asked for the numbers, and CUDA tells of an error then."""

    class Lazy:
        def __init__(self, x: Any) -> None:
            self.x = x

        def __array__(self, *_: Any, **__: Any) -> Any:
            if 3 in self.x:
                raise error("CUDA error: out of memory" if error is RuntimeError else "three")
            return self.x

        def __len__(self) -> int:
            return len(self.x)

    model = Model(lambda batch: Lazy(batch["x"]), ("y",), quarantine=True)

    answer = model.answer(lambda: {"x": np.array([1.0, 3.0, 5.0])}, 3)

    assert answer.values["y"].tolist() == [1, 5]
    assert [bad.row for bad in answer.bad] == [1]
