"""Rows reach the model in batches of its size and in their order, however Spark cut them."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritium.errors import BadSpec
from tritium.infer.batches import joined, rebatch


@given(sizes=st.lists(st.integers(0, 20), max_size=8), rows=st.integers(1, 12), offset=st.integers(0, 3))
def test_no_row_is_lost_doubled_or_moved(sizes: list[int], rows: int, offset: int) -> None:
    numbers = range(offset, offset + sum(sizes))
    whole = pa.RecordBatch.from_pydict(
        {"n": range(numbers.stop), "x": [[float(n)] for n in range(numbers.stop)]}
    )
    batches = [whole.slice(offset + sum(sizes[:at]), size) for at, size in enumerate(sizes)]

    out = list(rebatch(batches, rows))

    full, tail = divmod(len(numbers), rows)
    assert [batch.num_rows for batch in out] == [rows] * full + [tail] * (tail > 0)
    assert [n for batch in out for n in batch.column("n").to_pylist()] == list(numbers)
    assert [x for batch in out for (x,) in batch.column("x").to_pylist()] == list(map(float, numbers))
    assert all(batch.schema == whole.schema for batch in out)


def test_rows_inside_one_batch_are_not_copied() -> None:
    batch = pa.RecordBatch.from_pydict({"n": range(100)})

    first, *_ = rebatch([batch], 10)

    assert first.column(0).buffers()[1].address == batch.column(0).buffers()[1].address


def test_it_takes_no_more_batches_than_it_needs() -> None:
    taken = []

    def source() -> Iterator[pa.RecordBatch]:
        for number in range(3):
            taken.append(number)
            yield pa.RecordBatch.from_pydict({"n": [1, 2]})

    batches = rebatch(source(), 2)
    next(batches)

    assert taken == [0]


def test_what_is_too_large_for_one_batch_is_one_sentence() -> None:
    gib = pa.py_buffer(mmap.mmap(-1, 2**30))  # nobody looks at it, so it takes no memory
    offsets = pa.array([0, 2**30], pa.int32()).buffers()[1]
    image = pa.Array.from_buffers(pa.binary(), 1, [None, offsets, gib])
    batch = pa.RecordBatch.from_arrays([pa.array([1]), image], names=["n", "image"])

    with pytest.raises(BadSpec) as caught:
        list(rebatch([batch] * 3, 2))

    assert str(caught.value) == (
        "predict: batch_size: 2 rows have 2 GiB or more in the column image; a smaller batch_size would do"
    )


def test_batches_of_different_types_are_not_said_to_be_too_large() -> None:
    """Parts that ``preprocess`` made differently are made once more, as one."""
    one, other = (pa.RecordBatch.from_pydict({"n": rows}) for rows in ([1], ["a"]))

    with pytest.raises(pa.ArrowInvalid, match="identically typed"):
        joined([one, other])
