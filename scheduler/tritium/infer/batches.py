"""Decides where one batch of rows ends and the next begins: the model's size, not Arrow's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from tritium.errors import BadSpec

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["joined", "rebatch", "stacked"]


def rebatch(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Cut and join ``batches`` so that each has ``rows`` rows, the last perhaps fewer, in the same order.

    Rows are copied only where a batch is joined from several.

    >>> import pyarrow as pa
    >>> numbers = [pa.RecordBatch.from_pydict({"n": part}) for part in ([1, 2, 3], [], [4, 5])]
    >>> [batch.column("n").to_pylist() for batch in rebatch(numbers, 2)]
    [[1, 2], [3, 4], [5]]

    Raises:
        BadSpec: so many rows are too large for one batch.
    """
    waiting: list[pa.RecordBatch] = []
    missing = rows
    for batch in batches:
        start = 0
        while batch.num_rows - start >= missing:
            yield joined([*waiting, batch.slice(start, missing)])
            start += missing
            waiting, missing = [], rows
        if start < batch.num_rows:
            waiting.append(batch.slice(start))
            missing -= batch.num_rows - start
    if waiting:
        yield joined(waiting)


def joined(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Make one batch of several of one schema; a single one is not copied.

    Raises:
        BadSpec: its rows are too large for one.
    """
    import pyarrow as pa

    if len(parts) == 1:
        return parts[0]
    schema = parts[0].schema
    columns = [
        stacked([part.column(at) for part in parts], name=name) for at, name in enumerate(schema.names)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def stacked(parts: list[pa.Array], *, name: str) -> pa.Array:
    """Make one array of several of one type.

    Raises:
        BadSpec: texts, bytes or lists that Arrow's 32-bit offsets, which Spark has, cannot count.
    """
    import pyarrow as pa

    try:
        return pa.concat_arrays(parts)
    except pa.ArrowInvalid as err:
        if "offset overflow" not in str(err):
            raise
        rows = sum(map(len, parts))
        problem = f"{rows} rows have 2 GiB or more in the column {name}; a smaller batch_size would do"
        raise BadSpec("predict", [f"batch_size: {problem}"]) from err
