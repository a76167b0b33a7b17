"""Edge in a task: reads its rows from Spark in a thread, so that nobody waits for them when the gang ends.

Nobody can interrupt a read from Spark, whose next row may take hours to compute.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from tritium.train.spool import spool

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Spooling"]


class Spooling:
    """One task's spool, from construction to `close`.

    Args:
        batches: what Spark delivers; only the thread here reads them.
        path: file to be written.
        limit_mib: see `tritium.train.spool.spool`.
    """

    def __init__(self, batches: Iterable[pa.RecordBatch], path: Path, *, limit_mib: int | None) -> None:
        self._batches, self._path, self._limit_mib = batches, path, limit_mib
        self._unwanted = False
        self._rows: Future[int] = Future()
        self._done, self._ring = os.pipe()
        self._thread = threading.Thread(target=self._run, name="tritium-spool", daemon=True)
        self._thread.start()

    def rows(self, *, unless: int) -> int | None:
        """Wait for the last row and count all; ``None`` if the descriptor ``unless`` is readable first.

        Raises:
            SpoolFull, Unfit: see `tritium.train.spool.spool`.
            Exception: what reading from Spark raised.
        """
        ready, _, _ = select.select([self._done, unless], [], [])
        return self._rows.result() if self._done in ready else None

    def close(self) -> None:
        """Leave out what still comes and wait for its end: a Python worker must have read all to go on."""
        self._unwanted = True
        self._thread.join()
        os.close(self._done)

    def _run(self) -> None:
        try:
            self._rows.set_result(spool(self._wanted(), self._path, limit_mib=self._limit_mib))
        except BaseException as err:  # noqa: BLE001  it is raised where the rows are waited for
            self._rows.set_exception(err)
        finally:
            os.close(self._ring)

    def _wanted(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            if not self._unwanted:
                yield batch
