"""A rank's part of the data: Arrow batches mapped from disk, as numpy or as torch tensors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritium.columns import to_numpy

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import torch

__all__ = ["Shard"]


class Shard:
    """What a rank's function gets as ``data``; iterate it for ``pyarrow.RecordBatch``es.

    ``len(shard)`` is its number of rows. Shards of one gang may differ in length; `torch` gives every
    rank the same number of batches all the same, so that collectives never wait for a missing one.
    """

    def __init__(self, path: Path, *, number: int, longest: int) -> None:
        import pyarrow as pa

        self.number = number
        """Which shard this is: Spark's partition, stable when the gang is tried again."""
        self._longest = longest
        """Rows of the gang's longest shard."""
        with pa.memory_map(str(path)) as source:
            self._table: pa.Table = pa.ipc.open_file(source).read_all()

    def __len__(self) -> int:
        """Count the rows."""
        return int(self._table.num_rows)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Yield the batches as Spark delivered them."""
        yield from self._table.to_batches()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(self._table.column_names)

    def numpy(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return every column as an array of ``len(self)`` rows; lists of equal length become 2-D.

        Raises:
            ValueError: a column has nulls or ragged lists, which no array can hold.
        """
        return {name: to_numpy(self._table.column(name), name=name) for name in self.columns}

    def steps(self, batch_size: int) -> int:
        """Count the batches of one epoch: the same on every rank of the gang."""
        return -(-self._longest // batch_size)

    def torch(
        self, batch_size: int, *, seed: int | None = None, epoch: int = 0
    ) -> Iterator[dict[str, torch.Tensor]]:
        """Yield one epoch of batches, each column a tensor of ``batch_size`` rows (the last may be shorter).

        With a ``seed`` the rows are shuffled, anew for every ``epoch``. A shard that is shorter than
        the gang's longest begins again, as torch's ``DistributedSampler`` does, until every rank has
        had the same number of batches and rows.
        """
        import numpy as np
        import torch

        order = np.arange(len(self))
        if seed is not None:
            np.random.default_rng((seed, epoch, self.number)).shuffle(order)
        order = np.resize(order, self._longest)
        arrays = self.numpy()
        for start in range(0, self._longest, batch_size):
            rows = order[start : start + batch_size]
            yield {name: torch.from_numpy(array[rows]) for name, array in arrays.items()}
