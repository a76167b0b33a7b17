"""Rows of different lengths: with whom each goes to the model, how wide, and that it comes back in place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tritium.columns import to_padded
from tritium.infer.buckets import Padding, Windows, groups
from tritium.infer.failure import Failure
from tritium.infer.feeder import Fed
from tritium.infer.prepare import Prepare

BUCKETS = st.lists(st.integers(1, 20), min_size=1, max_size=4, unique=True).map(
    lambda sizes: tuple(sorted(sizes))
)
LENGTHS = st.lists(st.integers(0, 25), max_size=60)
SIZES = st.integers(1, 5)


def bucket(length: int, buckets: tuple[int, ...]) -> int | None:
    """The smallest that holds it, told in the plainest way."""
    return min((width for width in buckets if width >= length), default=None)


def as_batch(lengths: list[int]) -> pa.RecordBatch:
    lists = pa.array([[at + 1] * length for at, length in enumerate(lengths)], pa.list_(pa.int32()))
    return pa.RecordBatch.from_pydict({"n": pa.array(range(len(lengths)), pa.int64()), "x": lists})


@given(LENGTHS, BUCKETS, SIZES)
def test_every_row_is_in_one_batch_and_no_batch_mixes_buckets_or_is_too_large(
    lengths: list[int], buckets: tuple[int, ...], size: int
) -> None:
    chosen = groups(np.array(lengths, int), buckets=buckets, size=size)

    assert sorted(row for rows in chosen for row in rows) == list(range(len(lengths)))
    for rows in chosen:
        assert 1 <= len(rows) <= size
        assert len({bucket(lengths[row], buckets) for row in rows}) == 1


@given(LENGTHS, BUCKETS, SIZES)
def test_there_are_no_more_batches_than_the_rows_of_each_bucket_need(
    lengths: list[int], buckets: tuple[int, ...], size: int
) -> None:
    kinds = [bucket(length, buckets) for length in lengths]

    chosen = groups(np.array(lengths, int), buckets=buckets, size=size)

    assert len(chosen) == sum(-(-kinds.count(kind) // size) for kind in set(kinds))


@settings(deadline=None)  # the first one waits for pyarrow
@given(LENGTHS, BUCKETS, SIZES, st.integers(1, 9))
def test_rows_come_back_in_their_order_whatever_the_batches_of_arrow_are(
    lengths: list[int], buckets: tuple[int, ...], size: int, chunk: int
) -> None:
    batch = as_batch(lengths)
    windows = Windows(Padding(fill={"x": 0}, buckets=buckets), size=size)

    cut = list(windows.cut(batch.slice(at, chunk) for at in range(0, len(lengths), chunk)))
    back = list(windows.restored(cut))

    assert pa.Table.from_batches(back, batch.schema).equals(pa.Table.from_batches([batch]))


def test_what_waits_for_the_rest_of_its_window_is_kept_from_memory_that_is_used_again() -> None:
    windows = Windows(Padding(fill={"x": 0}, buckets=(1, 2, 3)), size=4)
    shared = np.zeros(1, np.int64)

    def answered() -> Any:
        for batch in windows.cut([as_batch([3, 1, 2])]):
            shared[0] = batch["n"][0].as_py()
            yield pa.RecordBatch.from_arrays([pa.array(shared)], names=["n"])

    (back,) = windows.restored(answered())

    assert back["n"].to_pylist() == [0, 1, 2]


def fed(batch: pa.RecordBatch, **options: Any) -> Fed:
    defaults = {"columns": None, "preprocess": None, "quarantine": True}
    (found,) = Prepare(**{**defaults, **options}).feed([batch])
    return found


@settings(deadline=None)
@given(LENGTHS.filter(bool), BUCKETS)
def test_a_batch_is_as_wide_as_the_smallest_bucket_that_holds_it_and_says_how_long_its_rows_are(
    lengths: list[int], buckets: tuple[int, ...]
) -> None:
    for rows in groups(np.array(lengths), buckets=buckets, size=5):
        width = bucket(max(lengths[row] for row in rows), buckets)
        batch = as_batch(lengths).take(rows)
        found = fed(batch, padding=Padding(fill={"x": -1}, buckets=buckets))

        if width is None:
            assert found.columns is None
            assert {bad.row for bad in found.bad} == set(range(len(rows)))
            continue
        assert found.columns["x"].shape == (len(rows), width)
        assert found.columns["x_length"].dtype == np.int32
        assert found.columns["x_length"].tolist() == [lengths[row] for row in rows]
        for row, values in zip(rows, found.columns["x"].tolist(), strict=True):
            assert values == [row + 1] * lengths[row] + [-1] * (width - lengths[row])


def test_without_buckets_it_is_as_wide_as_its_longest_row_each_column_by_itself() -> None:
    batch = pa.RecordBatch.from_pydict(
        {"x": [[1.0], [2.0, 3.0]], "y": pa.array([[[1, 2]], []], pa.list_(pa.list_(pa.int8(), 2)))}
    )

    found = fed(batch, padding=Padding(fill={"x": np.nan, "y": 0}))

    assert np.array_equal(found.columns["x"], np.array([[1, np.nan], [2, 3]]), equal_nan=True)
    assert found.columns["y"].tolist() == [[[1, 2]], [[0, 0]]]
    assert found.columns["y_length"].tolist() == [1, 0]


def test_a_row_that_no_bucket_holds_and_a_null_are_put_aside_with_their_reasons() -> None:
    batch = pa.RecordBatch.from_pydict({"x": [[1], [1, 2, 3], None, [1, 2]]})

    found = fed(batch, padding=Padding(fill={"x": 0}, buckets=(1, 2)))

    assert found.columns["x"].tolist() == [[1, 0], [1, 2]]
    assert [(bad.row, bad.message) for bad in found.bad] == [
        (1, "x: a row of 3 elements, 2 are the most"),
        (2, "x: 1 of 1 values are null; fill or drop them first"),
    ]
    with pytest.raises(Failure, match="rows do not fit predict: ValueError: x: a row of 3 elements"):
        fed(batch.slice(0, 2), padding=Padding(fill={"x": 0}, buckets=(2,)), quarantine=False)


@pytest.mark.parametrize("wrap", [pa.list_, pa.large_list])
def test_slices_and_large_lists_are_padded_too(wrap: Any) -> None:
    column = pa.array([[9], [1, 2], [], [3]], wrap(pa.float32())).slice(1)

    rows, lengths = to_padded(column, width=3, fill=0)

    assert rows.tolist() == [[1, 2, 0], [0, 0, 0], [3, 0, 0]]
    assert rows.dtype == np.float32
    assert lengths.tolist() == [2, 0, 1]


def test_what_is_no_list_cannot_be_padded() -> None:
    with pytest.raises(ValueError, match="x: only lists can be padded, not int64"):
        to_padded(pa.array([1]), width=1, fill=0, name="x")
