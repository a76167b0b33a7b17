"""A rank's part of the data: Arrow batches mapped from disk or read from files, as numpy or torch tensors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritium.columns import to_numpy
from tritium.train.split_rows import SplitRows

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import torch

__all__ = ["ROW", "Shard", "fill_of", "table_bytes", "table_from", "table_of"]

ROW = "__tritium_row"
"""Column that numbers the rows before they are spread over the ranks: Spark delivers them in any order,
in each attempt in another."""
_FILL_ROWS = 64
_FILL_BYTES = 1 << 20


class Shard:
    """What a rank's function gets as ``data``; iterate it for ``pyarrow.RecordBatch``es.

    ``len(shard)`` is its number of rows. Shards of one gang may differ in length, and one may be empty;
    `torch` and `batches` give every rank the same number of batches all the same, so that collectives
    never wait for a missing one.

    Args:
        rows: its rows; ``None`` if it has none.
        number: see the attribute.
        longest: rows of the gang's longest shard.
        fill: rows of another shard, for one that has none; see `fill_of`.
    """

    def __init__(
        self, rows: pa.Table | SplitRows | None, *, number: int, longest: int, fill: pa.Table | None = None
    ) -> None:
        self.number = number
        """Which shard this is: Spark's partition, stable when the gang is tried again."""
        self._longest = longest
        self._rows: pa.Table | SplitRows
        if isinstance(rows, SplitRows):
            self._rows, self._order = rows, None
        else:
            own = rows if rows is not None else fill
            assert own is not None  # noqa: S101  a gang without any row does not start
            self._rows, self._order = _in_order(own if rows is not None else own.slice(0, 0))
        self._fill = fill
        self._arrays: dict[str, np.ndarray[Any, Any]] | None = None

    def __len__(self) -> int:
        """Count the rows."""
        return int(self._rows.num_rows)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Yield the batches as Spark delivered them, which may be another order in another attempt.

        Where this rank reads files itself it does so here: a few row groups at a time, in order.
        """
        yield from self._rows.to_batches()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(self._rows.column_names)

    def numpy(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return every column as an array of ``len(self)`` rows, in the order of the data.

        Lists of equal length become 2-D.

        Raises:
            ValueError: a column has nulls or ragged lists, which no array can hold.
        """
        arrays = _numpy(self._rows.table() if isinstance(self._rows, SplitRows) else self._rows)
        return arrays if self._order is None else {name: array[self._order] for name, array in arrays.items()}

    def steps(self, batch_size: int) -> int:
        """Count the batches of one epoch: the same on every rank of the gang."""
        return -(-self._longest // batch_size)

    def batches(
        self, batch_size: int, *, seed: int | None = None, epoch: int = 0, start: int = 0, even: bool = True
    ) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
        """Yield one epoch of batches, each column an array of ``batch_size`` rows (the last may be shorter).

        With a ``seed`` the rows are shuffled, anew for every ``epoch`` and for every shard. ``start`` is
        the first batch to yield: a checkpoint that holds epoch and batch is where to go on, whichever
        rank has the shard then.

        A shard that is shorter than the gang's longest begins again, as torch's ``DistributedSampler``
        does, until every rank has had the same number of batches and rows; an empty one has rows of
        another. With ``even=False`` each shard ends where its rows do: then the framework must be told,
        with torch by ``torch.distributed.algorithms.join.Join``, or collectives hang.
        """
        import numpy as np

        arrays = self._kept(even=even)
        order = np.arange(len(next(iter(arrays.values()))))
        if seed is not None:
            np.random.default_rng((seed, epoch, self.number)).shuffle(order)
        if even:
            order = np.resize(order, self._longest)
        for first in range(start * batch_size, len(order), batch_size):
            taken = order[first : first + batch_size]
            yield {name: array[taken] for name, array in arrays.items()}

    def torch(
        self, batch_size: int, *, seed: int | None = None, epoch: int = 0, start: int = 0, even: bool = True
    ) -> Iterator[dict[str, torch.Tensor]]:
        """Yield one epoch of batches as tensors; the arguments are those of `batches`."""
        import torch

        for batch in self.batches(batch_size, seed=seed, epoch=epoch, start=start, even=even):
            yield {name: torch.from_numpy(array) for name, array in batch.items()}

    def _kept(self, *, even: bool) -> dict[str, np.ndarray[Any, Any]]:
        """Return the columns that batches are cut from, made once."""
        if not len(self) and not (even and self._fill is not None):
            return self.numpy()
        if self._arrays is None:
            self._arrays = self.numpy() if len(self) or self._fill is None else _numpy(self._fill)
        return self._arrays


def table_of(path: Path) -> pa.Table:
    """Map a spooled Arrow file into memory."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def fill_of(table: pa.Table) -> pa.Table:
    """Take the first rows of a shard, few and small, for the ranks whose shards are empty."""
    table, order = _in_order(table)
    rows = min(_FILL_ROWS, table.num_rows)
    first = table.slice(0, rows) if order is None else table.take(order[:rows])
    while rows > 1 and first.slice(0, rows).nbytes > _FILL_BYTES:
        rows //= 2
    return first.slice(0, rows).combine_chunks()


def table_bytes(table: pa.Table) -> bytes:
    """Write a small table down."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def table_from(content: bytes) -> pa.Table:
    """Read it back."""
    import pyarrow as pa

    return pa.ipc.open_stream(content).read_all()


def _in_order(table: pa.Table) -> tuple[pa.Table, np.ndarray[Any, Any] | None]:
    """Take the rows' numbers from a table; returns the order that they ask for, if it is another."""
    import numpy as np

    if ROW not in table.column_names:
        return table, None
    numbers = to_numpy(table.column(ROW), name=ROW)
    order = None if np.all(numbers[1:] >= numbers[:-1]) else np.argsort(numbers, kind="stable")
    return table.drop_columns([ROW]), order


def _numpy(table: pa.Table) -> dict[str, np.ndarray[Any, Any]]:
    return {name: to_numpy(table.column(name), name=name) for name in table.column_names}
