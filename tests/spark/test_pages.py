"""Pages of Parquet whose lists are equally long: the same rows as pyarrow reads, or left to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spark.both_ways import pieces_of
from spark.short_ways import short_ways
from tritium.spark import splits_read
from tritium.spark.pages import Chunk, Unlike, equal_lists
from tritium.spark.splits import Column

KINDS = (pa.float32(), pa.float64(), pa.int32(), pa.int64(), pa.int8(), pa.int16())


def written(path: Path, column: pa.Array, **options: Any) -> pa.Table:
    table = pa.table({"n": np.arange(len(column)), "x": column})
    pq.write_table(table, path, **{"use_dictionary": False, **options})
    return table


def tensors(rows: int, width: int, kind: Any = KINDS[0], different: int = 1 << 30) -> pa.Array:
    values = np.random.default_rng(rows + width).integers(0, different, rows * width)
    column = pa.array(values.astype(kind.to_pandas_dtype()))
    return pa.ListArray.from_arrays(np.arange(rows + 1, dtype=np.int32) * width, column)


def read(path: Path, kind: pa.DataType) -> pa.Table:
    columns = (
        Column(name="n", kind=pa.int64(), stored="n"),
        Column(name="y", kind=pa.list_(kind), stored="x"),
    )
    return pa.Table.from_batches(splits_read.read_pieces(pieces_of(path), columns))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 600),
    width=st.integers(1, 70) | st.just(784),
    kind=st.sampled_from(KINDS),
    codec=st.sampled_from(["none", "snappy", "gzip", "zstd", "brotli", "lz4"]),
    version=st.sampled_from(["1.0", "2.0"]),
    different=st.sampled_from([1, 7, 300, 1 << 30]),
    dictionary=st.none() | st.sampled_from([64, 1 << 20]),
    page=st.sampled_from([64, 1000, 1 << 20]),
    group=st.sampled_from([100, 1 << 20]),
)
def test_equal_lists_are_read_from_their_pages_however_long_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, rows: int, width: int, kind: Any, codec: str,
    version: str, different: int, dictionary: int | None, page: int, group: int,
) -> None:  # fmt: skip
    table = written(
        tmp_path / "x", tensors(rows, width, kind, different), compression=codec, data_page_version=version,
        data_page_size=page, write_batch_size=min(page, 1024), row_group_size=group,
        use_dictionary=dictionary is not None, dictionary_pagesize_limit=dictionary,
    )  # fmt: skip

    with monkeypatch.context() as patched:
        taken = short_ways(patched)
        got = read(tmp_path / "x", kind)

    assert got.column("y").to_pylist() == table.column("x").to_pylist()
    assert got.column("n") == table.column("n")
    assert taken == [True] * -(-rows // group)


OTHERS = {
    "a null list": [[1.0, 2.0], None, [5.0, 6.0]],
    "a null element": [[1.0, 2.0], [3.0, None]],
    "an empty list": [[1.0, 2.0, 3.0], [], [4.0, 5.0, 6.0]],
    "lists of different lengths": [[1.0], [2.0, 3.0, 4.0]],
    "as many elements as equal lists would have": [[1.0], [2.0, 3.0], [4.0, 5.0, 6.0]],
    "a null in the place of an element": [[1.0, 2.0], None, [3.0, 4.0, 5.0]],
}


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("rows", OTHERS.values(), ids=OTHERS)
def test_other_lists_are_left_to_pyarrow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[Any], version: str
) -> None:
    options = {"data_page_version": version, "write_statistics": False}
    written(tmp_path / "x", pa.array(rows, pa.list_(pa.float32())), **options)
    taken = short_ways(monkeypatch)

    got = read(tmp_path / "x", pa.float32())

    assert got.column("y").to_pylist() == rows
    assert not any(taken)


@pytest.mark.parametrize("encoding", ["DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"])
def test_encoded_elements_are_decoded_without_their_levels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    table = written(
        tmp_path / "x", tensors(50, 8, pa.int32()), column_encoding={"x.list.element": encoding, "n": "PLAIN"}
    )
    taken = short_ways(monkeypatch)

    assert read(tmp_path / "x", pa.int32()).column("y").to_pylist() == table.column("x").to_pylist()
    assert taken == [True]


@given(data=st.binary(min_size=1, max_size=200))
def test_what_is_no_page_is_refused(data: bytes) -> None:
    chunk = Chunk(rows=4, elements=8, kind=np.dtype("f4"), most=3, codec="snappy")

    with pytest.raises(Unlike):
        equal_lists(memoryview(data), chunk)
