"""Edge in a task or a rank: reads the row groups that are its own, ahead of whoever takes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tritium.errors import SparkFailed
from tritium.spark.footers import mark
from tritium.spark.lists import Decoded, leaf, lying
from tritium.spark.pages import Unlike, equal_lists
from tritium.spark.splits import BySpark, Column, Piece, Reading, Splits

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyspark.resource import ResourceProfile
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

__all__ = ["SplitTask", "map_rows", "read_pieces"]

_THREADS = 2
_AHEAD_BYTES = 256 << 20
"""Decoded row groups that may wait; a bigger one waits alone."""


def map_rows(
    df: DataFrame,
    function: Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]],
    schema: StructType | str,
    *,
    reading: Reading,
    profile: ResourceProfile | None = None,
) -> DataFrame:
    """``df.mapInArrow``, where tasks read the rows themselves if ``reading`` says so.

    Spark schedules them either way: what it carries to a task that reads for itself is one row.
    """
    if isinstance(reading, BySpark):
        return df.mapInArrow(function, schema, profile=profile)
    tasks = len(reading.tasks)
    numbers = _numbers(df.sparkSession, tasks)
    task = SplitTask(splits=reading, function=function)
    return numbers.mapInArrow(task, schema, profile=profile)


def _numbers(spark: SparkSession, tasks: int) -> DataFrame:
    """Make one row for each task, of which Spark knows no size: after 8 bytes a task it would broadcast all.

    Rows of an RDD count as ``spark.sql.defaultSizeInBytes``, where a range has the size that it has.
    """
    from pyspark.sql import DataFrame

    jvm = spark._jsparkSession  # noqa: SLF001  public in Spark's own language
    rows = jvm.range(0, tasks, 1, tasks).toDF()
    return DataFrame(jvm.createDataFrame(rows.javaRDD(), rows.schema()), spark)


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitTask:
    """The function that Spark runs in each task: its rows are numbers of tasks in ``splits``."""

    splits: Splits
    function: Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Be one task."""
        pieces = (
            piece
            for batch in batches
            for number in batch.column(0).to_pylist()
            for piece in self.splits.tasks[number]
        )
        yield from self.function(read_pieces(pieces, self.splits.columns))


def read_pieces(pieces: Iterable[Piece], columns: tuple[Column, ...]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of row groups in order, in batches of exactly the columns' types.

    A few threads decode ahead, as far as memory allows: pyarrow decodes a row group in one.

    Raises:
        SparkFailed: a file has gone, or another has taken its place since it was planned with.
        OSError, pyarrow.ArrowException: a file cannot be read.
    """
    waiting: deque[tuple[Future[list[pa.RecordBatch]], int]] = deque()
    todo = deque(pieces)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="tritium-splits") as pool:
        try:
            while todo or waiting:
                ahead = sum(size for _, size in waiting)
                while todo and len(waiting) <= _THREADS:
                    ahead += todo[0].stored_bytes
                    if waiting and ahead > _AHEAD_BYTES:
                        break
                    piece = todo.popleft()
                    waiting.append((pool.submit(_read, piece, columns), piece.stored_bytes))
                future, _ = waiting.popleft()
                yield from future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _read(piece: Piece, columns: tuple[Column, ...]) -> list[pa.RecordBatch]:
    """Decode one row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {column.stored: column.kind for column in columns if column.partition is None}
    with (
        _as_planned(piece) as stored,
        pq.ParquetFile(stored, coerce_int96_timestamp_unit="us") as file,
    ):
        found = {name: _tensors(stored, file, piece, name, kind) for name, kind in kinds.items()}
        others = [name for name, tensors in found.items() if tensors is None]
        table = file.read_row_group(piece.group, columns=others, use_threads=False)
    found |= {name: table.column(name).cast(kinds[name]) for name in others}
    arrays = [
        found[column.stored] if column.partition is None else _constant(piece, column, piece.rows)
        for column in columns
    ]
    table = pa.Table.from_arrays(arrays, names=[column.name for column in columns])
    batches: list[pa.RecordBatch] = table.to_batches()
    return batches


def _as_planned(piece: Piece) -> pa.MemoryMappedFile:
    import pyarrow as pa

    again = "since its row groups were dealt to tasks: read the table again with spark.read, and run again"
    try:
        stored = pa.memory_map(piece.path)
    except FileNotFoundError as err:
        raise SparkFailed(f"{piece.path} was removed {again}") from err
    if mark(stored) != piece.mark:
        stored.close()
        raise SparkFailed(f"{piece.path} was written anew {again}")
    return stored


def _tensors(
    stored: pa.MemoryMappedFile, file: pq.ParquetFile, piece: Piece, name: str, kind: pa.DataType
) -> pa.Array | None:
    """Read equally long lists of numbers the short way; ``None`` where they are something else."""
    import pyarrow as pa

    if not pa.types.is_list(kind) or (found := leaf(file.metadata, piece.group, name)) is None:
        return None
    if isinstance(chunk := lying(kind, found), Decoded):
        return None
    stored.seek(found.start)
    try:
        elements = equal_lists(memoryview(stored.read_buffer(found.size)), chunk)
    except Unlike:
        return None
    wanted = np.dtype(kind.value_type.to_pandas_dtype())
    if wanted != chunk.kind:  # whole numbers of one or two bytes lie there as ones of four
        elements = pa.py_buffer(np.frombuffer(elements, chunk.kind).astype(wanted))
    values = pa.Array.from_buffers(kind.value_type, chunk.elements, [None, elements])
    offsets = pa.array(np.arange(chunk.rows + 1, dtype=np.int32) * (chunk.elements // chunk.rows))
    return pa.ListArray.from_arrays(offsets, values, type=kind)


def _constant(piece: Piece, column: Column, rows: int) -> pa.Array:
    """A partition's value for each row, out of the form in which Spark holds it."""
    import pyarrow as pa

    assert column.partition is not None  # noqa: S101  told apart by the caller
    value = piece.values[column.partition]
    kind = column.kind
    if value is None:
        return pa.nulls(rows, kind)
    if pa.types.is_date(kind):
        return pa.repeat(pa.scalar(value, pa.int32()), rows).cast(kind)
    if pa.types.is_timestamp(kind):
        return pa.repeat(pa.scalar(value, pa.int64()), rows).cast(kind)
    return pa.repeat(pa.scalar(value, kind), rows)
