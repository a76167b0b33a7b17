"""Memory that two processes share: values cross without a copy on the reader's side."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tritium.infer.forms import copied
from tritium.infer.memory import Memory, read, view_of


@pytest.mark.parametrize(
    "value",
    [
        {"x": np.arange(6.0).reshape(2, 3), "y": np.array([], dtype=np.int8)},
        {"s": np.array(["a", None, "ü"], dtype=object), "t": np.arange(10)[::2]},
        {"a": pa.array([[1], None, [2, 3]])},
        {},
    ],
)
def test_a_value_comes_out_as_it_went_in(value: dict[str, Any]) -> None:
    memory = Memory()

    where, grown = memory.write(value)
    found = read(view_of(os.dup(memory.fileno)), where)

    assert grown
    assert found.keys() == value.keys()
    for name, column in value.items():
        assert found[name].tolist() == column.tolist()


def test_arrays_lie_in_the_memory_itself_and_cannot_be_changed() -> None:
    memory = Memory()
    where, _ = memory.write({"x": np.zeros(1000)})
    view = view_of(os.dup(memory.fileno))
    found = read(view, where)["x"]

    memory.write({"x": np.ones(1000)})

    assert found.sum() == 1000
    assert not found.flags.writeable


@pytest.mark.parametrize(
    "column", [np.arange(3), [np.arange(2), np.arange(3)], pa.array([1, None])], ids=type
)
def test_a_copy_of_what_was_read_outlives_what_is_written_next(column: Any) -> None:
    memory = Memory()
    where, _ = memory.write({"y": column})
    view = view_of(os.dup(memory.fileno))

    kept = copied(read(view, where))["y"]
    memory.write(np.full(view.nbytes // 16, -1))

    assert [np.array(one).tolist() for one in kept] == [np.array(one).tolist() for one in column]


def test_it_grows_when_it_must_and_only_then() -> None:
    memory = Memory()

    grown = [memory.write(np.zeros(size))[1] for size in (1000, 900, 1000, 100_000, 10)]

    assert grown == [True, False, False, True, False]


def test_it_is_counted_by_no_limit_of_dev_shm() -> None:
    memory = Memory()
    memory.write(np.zeros(10))

    assert str(Path(f"/proc/self/fd/{memory.fileno}").readlink()).startswith("/memfd:")


def test_where_there_is_no_memfd_it_is_a_file_without_a_name(
    monkeypatch: pytest.MonkeyPatch, own_folders: Any
) -> None:
    monkeypatch.delattr(os, "memfd_create")
    memory = Memory()

    where, _ = memory.write(np.arange(10))

    assert read(view_of(os.dup(memory.fileno)), where).tolist() == list(range(10))
    assert not list(own_folders.glob("tritium-*"))


def test_a_slice_of_an_arrow_batch_takes_the_room_of_its_own_rows_and_is_read_without_a_copy() -> None:
    whole = pa.RecordBatch.from_pydict(
        {
            "n": pa.array([None, *range(1, 100_000)], pa.int64()),
            "words": pa.array([f"word {n % 7}" for n in range(100_000)]).dictionary_encode(),
            "lists": pa.array([[n % 7] * (n % 3) for n in range(100_000)], pa.large_list(pa.int8())),
            "structs": pa.array([{"a": n, "b": None} for n in range(100_000)]),
        }
    )
    part = whole.slice(10, 5)
    memory = Memory()

    where, _ = memory.write({"batch": part, "column": whole.column("n").slice(0, 2)})
    view = view_of(os.dup(memory.fileno))
    found = read(view, where)

    assert where[0] + where[1] < 5_000
    assert found["batch"].equals(part)
    assert found["column"].to_pylist() == [None, 1]
    first = np.frombuffer(view, np.uint8).ctypes.data
    assert first <= found["batch"]["n"].buffers()[1].address < first + len(view)
