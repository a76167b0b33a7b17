"""Edge in a rank: a shard whose rows it reads from the row groups of files itself; nothing is spooled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tritium.spark.splits import Column, Piece
from tritium.spark.splits_read import read_pieces

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SplitRows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRows:
    """What a task tells its rank to read."""

    pieces: tuple[Piece, ...]
    columns: tuple[Column, ...]

    @property
    def num_rows(self) -> int:
        """Count the rows, as their files' footers have it."""
        return sum(piece.rows for piece in self.pieces)

    @property
    def column_names(self) -> list[str]:
        """Names of the columns, in order."""
        return [column.name for column in self.columns]

    def to_batches(self) -> Iterator[pa.RecordBatch]:
        """Read the rows, a few row groups at a time.

        Raises:
            SparkFailed: a file has gone, or another has taken its place since it was planned with.
            OSError, pyarrow.ArrowException: a file cannot be read.
        """
        return read_pieces(self.pieces, self.columns)

    def table(self) -> pa.Table:
        """Read all rows into memory; see `to_batches` for what it raises."""
        import pyarrow as pa

        return pa.Table.from_batches(self.to_batches())
