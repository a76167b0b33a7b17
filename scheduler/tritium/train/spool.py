"""Edge to the local disk: a task's rows as one Arrow file that its rank maps into memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tritium.train.unfit import or_unfit

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SpoolFull", "spool"]

_LEAVE_MIB = 512
"""What a spool leaves free on its disk for everybody else, Spark's own shuffle files among them."""


class SpoolFull(Exception):
    """A shard does not fit where it should be spooled."""


def spool(batches: Iterable[pa.RecordBatch], path: Path, *, limit_mib: int | None) -> int:
    """Write all batches to an Arrow IPC file, uncompressed so that it can be mapped, and count the rows.

    Returns the number of rows; without a row no file is written and it is 0.

    Raises:
        SpoolFull: the rows take more than ``limit_mib``, or more than the disk can spare.
        Unfit: they cannot be written.
        Exception: what reading the batches raised.
    """
    import pyarrow as pa

    rows = size = 0
    writer: pa.RecordBatchFileWriter | None = None
    try:
        for batch in batches:
            if not batch.num_rows:
                continue
            size += batch.nbytes
            with or_unfit():
                if full := _full(path, size, limit_mib):
                    raise SpoolFull(full)
                if writer is None:
                    writer = pa.ipc.new_file(str(path), batch.schema)
                writer.write_batch(batch)
            rows += batch.num_rows
    finally:
        if writer is not None:
            with or_unfit():
                writer.close()
    return rows


def _full(path: Path, size: int, limit_mib: int | None) -> str:
    """Say why no more may be written, if so."""
    if limit_mib is not None and size > limit_mib << 20:
        return f"the rows of its shard take over {limit_mib} MiB (spool_mib): use more ranks or fewer columns"
    free = shutil.disk_usage(path.parent).free >> 20
    if free < _LEAVE_MIB:
        return f"{path.parent} has {free} MiB left after {size >> 20} MiB of its shard: use more ranks"
    return ""
