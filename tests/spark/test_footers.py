"""A file that took the place of the one that was planned with is refused, whatever its times say."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark.both_ways import pieces_of
from tritium.errors import SparkFailed
from tritium.spark.splits import Column, Piece
from tritium.spark.splits_read import read_pieces

COLUMNS = (Column(name="x", stored="x", kind=pa.int64()),)


def write(path: Path, *, rows: int, group: int, first: int = 0) -> None:
    pq.write_table(pa.table({"x": range(first, first + rows)}), path, row_group_size=group)


def read(pieces: list[Piece]) -> list[int]:
    found: list[int] = pa.Table.from_batches(read_pieces(pieces, COLUMNS)).column("x").to_pylist()
    return found


@pytest.mark.parametrize(
    ("rows", "group", "first"),
    [(1000, 100, 0), (1000, 1000, 0), (100, 50, 0), (100, 100, 7), (99, 99, 0)],
    ids=["more groups", "more rows", "other groups", "other numbers", "fewer rows"],
)
def test_a_file_that_was_written_anew_loses_no_rows_in_silence(
    tmp_path: Path, rows: int, group: int, first: int
) -> None:
    path = tmp_path / "t.parquet"
    write(path, rows=100, group=100)
    planned, before = pieces_of(path), path.stat()
    assert read(planned) == list(range(100))

    write(path, rows=rows, group=group, first=first)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    said = f"{path} was written anew since its row groups were dealt to tasks: read the table again"
    with pytest.raises(SparkFailed, match=re.escape(said)):
        read(planned)


def test_the_same_file_written_again_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write(path, rows=100, group=10)
    planned = pieces_of(path)

    write(path, rows=100, group=10)
    os.utime(path, (1, 1))

    assert read(planned) == list(range(100))


@pytest.mark.parametrize("left", [b"", b"PAR1", b"1" * 100], ids=["nothing", "a few bytes", "no Parquet"])
def test_a_file_that_is_just_being_written_is_another(tmp_path: Path, left: bytes) -> None:
    path = tmp_path / "t.parquet"
    write(path, rows=100, group=100)
    planned = pieces_of(path)

    path.write_bytes(left)

    with pytest.raises(SparkFailed, match="was written anew"):
        read(planned)


def test_a_file_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write(path, rows=100, group=100)
    planned = pieces_of(path)

    path.unlink()

    with pytest.raises(SparkFailed, match=r"t\.parquet was removed since .* and run again"):
        read(planned)
