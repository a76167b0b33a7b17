"""Edge to the local disk: a task's rows as one Arrow file that its rank maps into memory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["spool"]


def spool(batches: Iterable[pa.RecordBatch], path: Path) -> int:
    """Write all batches to an Arrow IPC file, uncompressed so that it can be mapped, and count the rows.

    Returns the number of rows; without a batch no file is written and it is 0.
    """
    import pyarrow as pa

    rows = 0
    writer: pa.RecordBatchFileWriter | None = None
    try:
        for batch in batches:
            if writer is None:
                writer = pa.ipc.new_file(str(path), batch.schema)
            writer.write_batch(batch)
            rows += batch.num_rows
    finally:
        if writer is not None:
            writer.close()
    return rows
