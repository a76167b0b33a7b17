"""Columns cross between Arrow and numpy unchanged, and without a copy where both can hold them."""

from __future__ import annotations

from datetime import time
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tritium.columns import to_arrow, to_numpy

PRIMITIVES = {
    np.dtype(name): arrow
    for name, arrow in {
        "int8": pa.int8(), "uint8": pa.uint8(), "uint16": pa.uint16(),
        "float16": pa.float16(), "int16": pa.int16(),
        "int32": pa.int32(), "int64": pa.int64(),
        "float32": pa.float32(), "float64": pa.float64(), "bool": pa.bool_(),
    }.items()
}  # fmt: skip
SHAPES = st.lists(st.integers(1, 4), max_size=2).flatmap(
    lambda inner: st.integers(0, 5).map(lambda rows: (rows, *inner))
)
ARRAYS = st.sampled_from(list(PRIMITIVES)).flatmap(lambda dtype: hnp.arrays(dtype, SHAPES))


def nested(array: np.ndarray[Any, Any], wrap: Any) -> pa.DataType:
    kind = PRIMITIVES[array.dtype]
    for size in reversed(array.shape[1:]):
        kind = wrap(kind, size)
    return kind


LISTS = {
    "list": lambda kind, _: pa.list_(pa.field("element", kind)),
    "large_list": lambda kind, _: pa.large_list(kind),
    "fixed_size_list": pa.list_,
}


@pytest.mark.parametrize("wrap", LISTS.values(), ids=LISTS)
@given(array=ARRAYS, start=st.integers(0, 3), data=st.data())
def test_arrays_of_any_shape_come_back_also_from_slices(
    wrap: Any, array: np.ndarray[Any, Any], start: int, data: st.DataObject
) -> None:
    kind = nested(array, wrap)
    column = to_arrow(array, kind)

    assert column.type == kind
    back = to_numpy(column.slice(start))
    if array[start:].size:
        np.testing.assert_array_equal(back, array[start:], strict=True)
    cut = data.draw(st.integers(0, len(array)))
    chunked = pa.chunked_array([column.slice(0, cut), column.slice(cut)])
    np.testing.assert_array_equal(to_numpy(chunked), to_numpy(column))


@given(array=hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=9)))
def test_arrays_that_are_not_contiguous_cross_by_value(array: np.ndarray[Any, Any]) -> None:
    column = to_arrow(array.T, pa.list_(pa.float32()))

    np.testing.assert_array_equal(to_numpy(column), array.T)


def memory_of(column: pa.Array) -> range:
    buffer = column.flatten().buffers()[1] if pa.types.is_nested(column.type) else column.buffers()[1]
    return range(buffer.address, buffer.address + buffer.size)


@pytest.mark.parametrize(
    "kind",
    [pa.float32(), pa.list_(pa.float32()), pa.large_list(pa.float32()), pa.list_(pa.float32(), 4)],
    ids=str,
)
@pytest.mark.parametrize("start", [0, 2])
def test_numbers_are_not_copied_in_either_direction(kind: pa.DataType, start: int) -> None:
    array = np.arange(32, dtype=np.float32).reshape((32,) if kind == pa.float32() else (8, 4))

    column = to_arrow(array, kind).slice(start)
    back = to_numpy(column)

    assert memory_of(column).start == array.__array_interface__["data"][0]
    assert back.__array_interface__["data"][0] in memory_of(column)
    assert not back.flags.writeable, "nobody may write into memory that Arrow shares"


@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("wrap", LISTS.values(), ids=LISTS)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.float16])
def test_small_numbers_in_lists_are_not_copied_either(dtype: Any, wrap: Any, start: int) -> None:
    array = np.arange(40).astype(dtype).reshape(8, 5)

    column = to_arrow(array, nested(array, wrap)).slice(start)
    back = to_numpy(column)

    assert memory_of(column).start == array.__array_interface__["data"][0]
    assert back.__array_interface__["data"][0] in memory_of(column)
    np.testing.assert_array_equal(back, array[start:], strict=True)


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint8(), pa.int16(), pa.bool_()], ids=str)
def test_nulls_among_small_numbers_are_refused_but_not_those_outside_of_a_slice(kind: pa.DataType) -> None:
    one, nil = (True, False) if kind == pa.bool_() else (1, 0)
    column = pa.array([None, [one, None], [one, nil], [nil, one], [None, nil]], pa.list_(kind))

    assert to_numpy(column.slice(2, 2)).tolist() == [[1, 0], [0, 1]]
    for part, sentence in (
        (column, "x: 1 of 5 values are null"),
        (column.slice(1), "x: 2 of 8 values are null"),
    ):
        with pytest.raises(ValueError, match=sentence):
            to_numpy(part, name="x")


@pytest.mark.parametrize(
    ("column", "want"),
    [
        (pa.array(["a", "bc"]), ["a", "bc"]),
        (pa.array(["", "a", "bc"], pa.large_string()).slice(1), ["a", "bc"]),
        (pa.array([b"a", b""], pa.large_binary()), [b"a", b""]),
        (pa.array(["x", "y", "x"]).dictionary_encode(), ["x", "y", "x"]),
        (pa.array([[["a"]], [["b"]]]), [[["a"]], [["b"]]]),
        (pa.array(["0.10", "2.00"]).cast(pa.decimal128(5, 2)), [Decimal("0.10"), Decimal(2)]),
        (pa.array([[1_000_000], [0]], pa.list_(pa.time64("us"))), [[time(0, 0, 1)], [time(0, 0)]]),
        (pa.array([b"ab", b"cd"], pa.binary(2)).slice(1), [b"cd"]),
        (pa.chunked_array([], pa.int64()), []),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_strings_binary_and_dictionaries_become_plain_values(column: Any, want: list[Any]) -> None:
    assert to_numpy(column).tolist() == want


def test_timestamps_keep_their_unit() -> None:
    stamps = pa.array([0, 1_500_000], pa.timestamp("us", tz="UTC"))

    array = to_numpy(stamps)

    assert array.dtype == np.dtype("datetime64[us]")
    assert to_arrow(array, stamps.type).equals(stamps)


def test_nulls_become_what_pandas_makes_of_them() -> None:
    def made(*values: Any) -> Any:
        return to_numpy(pa.array(values), nulls=True)

    assert np.array_equal(made(1, None), [1, np.nan], equal_nan=True)
    assert np.array_equal(
        to_numpy(pa.array([1, None], pa.float32()), nulls=True), [1, np.nan], equal_nan=True
    )
    assert made("a", None).tolist() == ["a", None]
    assert made(Decimal(1), None).tolist() == [Decimal(1), None]
    assert made(time(1), None).tolist() == [time(1), None]
    assert made(True, None).tolist() == [True, None]
    with pytest.raises(ValueError, match="1 of 2 values are null"):
        made([1.0], None)


def test_rows_of_one_number_fill_a_column_of_numbers() -> None:
    assert to_arrow(np.array([[1.0], [2.0]]), pa.float32()).to_pylist() == [1, 2]
    assert to_arrow(np.array([[1.0], [2.0]]), pa.list_(pa.float32())).to_pylist() == [[1], [2]]
    with pytest.raises(ValueError, match="cannot make float of float64 of shape"):
        to_arrow(np.ones((2, 2)), pa.float32())
    with pytest.raises(ValueError, match="cannot make float of float64 of shape"):
        to_arrow(np.ones((2, 1, 1)), pa.float32())


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        (pa.array([1, None, None]), "x: 2 of 3 values are null; fill or drop them first"),
        (pa.array([None, "a"]).dictionary_encode(), "x: 1 of 2 values are null; fill or drop them first"),
        (pa.array([[1.0, None]]), "x: 1 of 2 values are null; fill or drop them first"),
        (pa.array([[1], [1, 2]]), "x: its lists have 1 to 2 elements; an array needs equal lengths"),
        (pa.array([{"a": 1}]), "x: no array can hold struct<a: int64>; select what you need of it"),
        (pa.array([None], pa.null()), "x: 1 of 1 values are null; fill or drop them first"),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_what_no_array_can_hold_is_one_clear_error(column: pa.Array, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"^x: ") as caught:
        to_numpy(column, name="x")

    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        (np.array([1.5]), pa.int32(), r"y: cannot make int32 of float64 of shape \(1,\)"),
        (np.array([2**40]), pa.int32(), "not in range"),
        (np.ones((2, 3)), pa.list_(pa.float32(), 2), r"of float64 of shape \(2, 3\): rows of 3 elements"),
        (np.ones((2, 3)), pa.float32(), "2 dimensions"),
        (["a"], pa.int32(), "Could not convert 'a'"),
        ([[1], [1, 2]], pa.int32(), "of lists of different lengths"),
        (pa.array([1.5]), pa.int32(), "cannot make int32 of double"),
        (pa.array(["a"]), pa.int32(), "cannot make int32 of string"),
        (3, pa.int32(), "there are no rows"),
        (np.ones((2, 0)), pa.list_(pa.float32(), 0), "rows of 0 elements"),
    ],
)
def test_values_that_do_not_fit_the_declared_type_are_refused(
    values: Any, kind: pa.DataType, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        to_arrow(values, kind, name="y")


def test_objects_may_hold_nulls_and_lists_of_different_lengths() -> None:
    rows = np.empty(3, dtype=object)
    rows[:] = [[1.0], None, [2.0, 3.0]]

    assert to_arrow(rows, pa.list_(pa.float32())).to_pylist() == [[1.0], None, [2.0, 3.0]]
    assert to_arrow(["a", None], pa.string()).to_pylist() == ["a", None]


def test_a_declared_type_narrows_numbers_that_fit_it() -> None:
    assert to_arrow(np.array([1.0, 2.0]), pa.int32()).type == pa.int32()
    assert to_arrow(np.array([0.1, np.nan]), pa.float32()).type == pa.float32()
    assert to_arrow(np.array([0.1, np.nan]), pa.float32()).null_count == 0


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([1, None, 3]), pa.int32()),
        (pa.array([[1], None, [2, None]]), pa.list_(pa.field("element", pa.float32()))),
        (pa.array(["a", None, "a"]).dictionary_encode(), pa.string()),
        (pa.array([[1, 2], [3, 4]], pa.list_(pa.int32(), 2)), pa.list_(pa.int32())),
        (pa.array([{"a": 1}, None]), pa.struct([("a", pa.int64())])),
        (pa.array([[1], [], [2, 3]]).slice(1), pa.list_(pa.int64())),
    ],
    ids=lambda value: str(getattr(value, "type", value)),
)
def test_an_arrow_column_becomes_one_of_the_declared_type(column: pa.Array, kind: pa.DataType) -> None:
    made = to_arrow(column, kind)

    assert made.type == kind
    assert made.to_pylist() == column.to_pylist()


def test_a_tensor_column_of_arrow_becomes_lists() -> None:
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(6.0).reshape(3, 2))

    assert to_arrow(tensors, pa.list_(pa.float32())).to_pylist() == [[0, 1], [2, 3], [4, 5]]


def test_lists_of_different_lengths_become_lists() -> None:
    assert to_arrow([[1], [], [2, 3]], pa.list_(pa.int32())).to_pylist() == [[1], [], [2, 3]]
