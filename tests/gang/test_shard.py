"""A rank's rows, from Arrow batches to tensors."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tritium.train.shard import Shard
from tritium.train.spool import spool


def shard(folder: Path, rows: int, *, longest: int | None = None, number: int = 0) -> Shard:
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
    assert spool(batches, path) == rows
    return Shard(path, number=number, longest=longest or rows)


def test_rows_come_back_as_they_were_spooled(tmp_path: Path) -> None:
    read = shard(tmp_path, 20)

    assert len(read) == 20
    assert [batch.num_rows for batch in read] == [7, 7, 6]
    assert read.columns == ("id", "x")
    assert read.numpy()["id"].tolist() == list(range(20))
    assert read.numpy()["x"].shape == (20, 2)


@pytest.mark.torch
@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    batch=st.integers(1, 8),
    seed=st.none() | st.integers(0, 9),
)
def test_every_rank_gets_the_same_number_of_batches_and_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int], batch: int, seed: int | None
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    sizes = set()
    for number, count in enumerate(rows):
        part = shard(folder, count, longest=max(rows), number=number)
        batches = [len(tensors["id"]) for tensors in part.torch(batch, seed=seed)]
        sizes.add(tuple(batches))
        assert len(batches) == part.steps(batch)
        ids = [int(i) for tensors in part.torch(batch, seed=seed) for i in tensors["id"]]
        assert set(ids) == set(range(count)), "a rank that wraps around has still seen all of its rows"
    assert len(sizes) == 1


@pytest.mark.torch
def test_a_seed_shuffles_anew_each_epoch_and_the_same_each_time(tmp_path: Path) -> None:
    part = shard(tmp_path, 50)

    def order(**options: int) -> list[int]:
        return [int(i) for tensors in part.torch(8, **options) for i in tensors["id"]]

    assert order() == list(range(50))
    assert order(seed=1) == order(seed=1)
    assert order(seed=1) != order(seed=1, epoch=1)
    assert sorted(order(seed=1)) == list(range(50))
