"""It is told from a file's foot, with the reason, which columns of lists pyarrow has to decode."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tritium.spark.lists import Decoded, Leaf, leaf, lying
from tritium.spark.pages import Chunk
from tritium.spark.splits import Column, Footer, Group, Mark, Part, Scan, Splits, dealt, decide

FLOATS = pa.list_(pa.float32())
TENSORS = Leaf(
    rows=10, elements=40, physical="FLOAT", logical="NONE", repeats=1, defined=2, codec="SNAPPY", nulls=0,
    start=4, size=200,
)  # fmt: skip


def test_equal_lists_of_numbers_are_read_from_their_pages() -> None:
    found = lying(FLOATS, TENSORS)

    assert found == Chunk(rows=10, elements=40, kind=np.dtype("f4"), most=2, codec="snappy")
    assert lying(FLOATS, replace(TENSORS, nulls=None)) == found
    for kind in (pa.int8(), pa.int16(), pa.int32()):
        assert lying(pa.list_(kind), replace(TENSORS, physical="INT32", logical="INT")) == Chunk(
            rows=10, elements=40, kind=np.dtype("i4"), most=2, codec="snappy"
        )


OTHERS: dict[str, tuple[pa.DataType, dict[str, Any]]] = {
    "it is no list of numbers": (pa.list_(FLOATS), {"repeats": 2}),
    "its elements are string": (pa.list_(pa.string()), {"physical": "BYTE_ARRAY"}),
    "its elements are bool": (pa.list_(pa.bool_()), {"physical": "BOOLEAN"}),
    "its float elements are stored as DOUBLE": (FLOATS, {"physical": "DOUBLE"}),
    "its int64 elements are stored as INT64 (TIMESTAMP)": (
        pa.list_(pa.int64()),
        {"physical": "INT64", "logical": "TIMESTAMP"},
    ),
    "it is compressed by LZO": (FLOATS, {"codec": "LZO"}),
    "it has nulls or empty lists": (FLOATS, {"nulls": 3}),
    "its lists differ in length": (FLOATS, {"elements": 41}),
    "it has more than 2147483647 elements in a row group": (FLOATS, {"elements": 1 << 31, "rows": 1 << 10}),
}


@pytest.mark.parametrize(("why", "given"), OTHERS.items(), ids=OTHERS)
def test_the_reason_for_leaving_a_column_to_pyarrow_is_said(
    why: str, given: tuple[pa.DataType, dict[str, Any]]
) -> None:
    kind, changed = given

    assert lying(kind, replace(TENSORS, **changed)) == Decoded(why=why)


def test_a_list_of_structs_is_no_list_of_numbers() -> None:
    assert lying(pa.list_(pa.struct([("a", pa.int32())])), None) == Decoded(why="it is no list of numbers")


def test_what_a_foot_says_of_lists_is_found(tmp_path: Path) -> None:
    rows = [[1.0, 2.0], [3.0, 4.0], None]
    pairs = [[{"a": 1, "b": 2}]] * 3
    pq.write_table(pa.table({"n": [1, 2, 3], "x": pa.array(rows, FLOATS), "p": pairs}), tmp_path / "t")

    with pq.ParquetFile(tmp_path / "t") as file:
        found, several = leaf(file.metadata, 0, "x"), leaf(file.metadata, 0, "p")

    assert several is None
    assert found is not None
    dictionary_lies_first = found.start
    assert found == replace(
        TENSORS, rows=3, elements=5, defined=3, nulls=1, start=dictionary_lies_first, size=found.size
    )


def test_each_column_of_lists_is_told_with_each_reason_once() -> None:
    columns = tuple(
        Column(name=name, stored=name, kind=pa.list_(kind))
        for name, kind in {"x": pa.float32(), "s": pa.string(), "m": pa.float32()}.items()
    )
    leaves = {
        "x": (TENSORS,) * 3,
        "s": (TENSORS,) * 3,
        "m": (TENSORS, replace(TENSORS, elements=41), replace(TENSORS, nulls=1)),
    }
    footer = Footer(
        kinds={column.name: column.kind for column in columns},
        groups=tuple(Group(rows=10, middle=at, stored_bytes=1) for at in range(3)),
        mark=Mark(size_bytes=1, foot=1),
        leaves=leaves,
    )
    scan = Scan(columns=columns, tasks=((Part(path="/f", start=0, length=9),),))

    found = dealt(decide(scan, {"/f": footer}), 3)

    assert isinstance(found, Splits)
    assert found.sentence == (
        "3 tasks read 3 row groups of 1 Parquet file themselves; "
        "x is copied from its pages while its lists are equally long; "
        "s is decoded by pyarrow (its elements are string); "
        "m is decoded by pyarrow (its lists differ in length, it has nulls or empty lists)"
    )
