"""A rank's rows, from Arrow batches to tensors."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tritium.train.shard import ROW, Shard, fill_of, table_bytes, table_from, table_of
from tritium.train.spool import SpoolFull, spool


def shard(
    folder: Path, rows: int, *, longest: int | None = None, number: int = 0, fill: Shard | None = None
) -> Shard:
    batches = [
        pa.RecordBatch.from_pydict(
            {
                "id": range(start, min(start + 7, rows)),
                "x": [[float(i), 0.5] for i in range(start, min(start + 7, rows))],
            }
        )
        for start in range(0, rows, 7)
    ]
    path = folder / f"{rows}.arrow"
    assert spool(batches, path, limit_mib=None) == rows
    assert path.exists() == (rows > 0)
    lent = table_from(table_bytes(fill_of(fill._rows))) if fill is not None else None
    table = table_of(path) if rows else None
    return Shard(table, number=number, longest=longest or rows, fill=lent)


def test_rows_come_back_as_they_were_spooled(tmp_path: Path) -> None:
    read = shard(tmp_path, 20)

    assert len(read) == 20
    assert [batch.num_rows for batch in read] == [7, 7, 6]
    assert read.columns == ("id", "x")
    assert read.numpy()["id"].tolist() == list(range(20))
    assert read.numpy()["x"].shape == (20, 2)


def ids(batches: Iterable[dict[str, Any]]) -> list[int]:
    return [int(i) for batch in batches for i in batch["id"]]


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(st.integers(0, 30), min_size=1, max_size=4).filter(any),
    size=st.integers(1, 8),
    seed=st.none() | st.integers(0, 9),
)
def test_every_rank_gets_the_same_number_of_batches_and_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int], size: int, seed: int | None
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    lender = shard(folder, max(rows))
    sizes = set()
    for number, count in enumerate(rows):
        part = shard(folder, count, longest=max(rows), number=number, fill=lender)
        batches = [*part.batches(size, seed=seed)]
        sizes.add(tuple(len(batch["id"]) for batch in batches))
        assert len(batches) == part.steps(size)
        if count:
            assert set(ids(batches)) == set(range(count)), "a shard that begins again was seen whole before"
        assert sorted(ids(part.batches(size, seed=seed, even=False))) == list(range(count))
    assert len(sizes) == 1


@given(rows=st.integers(0, 20), size=st.integers(1, 8), epoch=st.integers(0, 3), start=st.integers(0, 9))
@settings(max_examples=50, deadline=None)
def test_an_epoch_goes_on_in_the_middle_as_if_it_had_never_stopped(
    tmp_path_factory: pytest.TempPathFactory, rows: int, size: int, epoch: int, start: int
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    part = shard(folder, rows, longest=20, number=2, fill=shard(folder, 20))

    for even in (True, False):
        whole = [*part.batches(size, seed=1, epoch=epoch, even=even)]
        rest = [*part.batches(size, seed=1, epoch=epoch, start=start, even=even)]

        assert ids(rest) == ids(whole[start:])


def test_a_seed_shuffles_anew_each_epoch_and_shard_and_the_same_each_time(tmp_path: Path) -> None:
    part, other = shard(tmp_path, 50), shard(tmp_path, 50, number=1)

    assert ids(part.batches(8)) == list(range(50))
    assert ids(part.batches(8, seed=1)) == ids(part.batches(8, seed=1))
    assert ids(part.batches(8, seed=1)) != ids(part.batches(8, seed=1, epoch=1))
    assert ids(part.batches(8, seed=1)) != ids(other.batches(8, seed=1))
    assert sorted(ids(part.batches(8, seed=1))) == list(range(50))


def test_an_empty_shard_has_no_rows_of_its_own_but_knows_its_columns(tmp_path: Path) -> None:
    part = shard(tmp_path, 0, longest=100, fill=shard(tmp_path, 100))

    assert (len(part), part.columns, list(part)) == (0, ("id", "x"), [])
    assert {name: len(array) for name, array in part.numpy().items()} == {"id": 0, "x": 0}
    assert set(ids(part.batches(10))) == set(range(64))


def test_what_is_lent_to_empty_shards_is_small(tmp_path: Path) -> None:
    images = pa.table({"image": [bytes(400_000)] * 10})

    assert fill_of(images).num_rows == 2
    assert fill_of(pa.table({"image": [bytes(4_000_000)] * 10})).num_rows == 1
    assert fill_of(shard(tmp_path, 100)._rows).num_rows == 64


def test_rows_are_in_the_order_of_the_data_however_spark_delivered_them() -> None:
    delivered = pa.table({"x": [30, 10, 40, 20], ROW: [2, 0, 1 << 40, 1]})
    part = Shard(delivered, number=0, longest=4)

    assert part.columns == ("x",)
    assert part.numpy()["x"].tolist() == [10, 20, 30, 40]
    assert [int(x) for batch in part.batches(3) for x in batch["x"]] == [10, 20, 30, 40]
    assert fill_of(delivered).to_pydict() == {"x": [10, 20, 30, 40]}
    assert [x for batch in part for x in batch.to_pydict()["x"]] == [30, 10, 40, 20]


@pytest.mark.torch
def test_tensors_are_what_the_arrays_are(tmp_path: Path) -> None:
    part = shard(tmp_path, 20)

    for tensors, arrays in zip(part.torch(8, seed=1), part.batches(8, seed=1), strict=True):
        assert tensors["x"].shape == arrays["x"].shape
        assert tensors["id"].tolist() == arrays["id"].tolist()


def test_a_shard_over_the_limit_is_refused_and_not_written_to_its_end(tmp_path: Path) -> None:
    batches = (pa.RecordBatch.from_pydict({"x": [bytes(1 << 19)]}) for _ in range(100))

    with pytest.raises(
        SpoolFull, match=r"the rows of its shard take over 2 MiB \(spool_mib\): use more ranks"
    ):
        spool(batches, tmp_path / "shard.arrow", limit_mib=2)

    assert (tmp_path / "shard.arrow").stat().st_size < 2 << 20
    assert len(list(batches)) > 90
