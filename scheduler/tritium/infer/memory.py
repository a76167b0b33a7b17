"""Edge to memory that two processes share: one writes values into it, the other reads them without a copy.

A value is pickled; the contents of its arrays are left out of the pickle (PEP 574) and lie beside it, those
of Arrow as Arrow's own stream: its pickle of a slice would hold all that the slice is of. The memory has no
name: it is a memfd, which no limit of /dev/shm counts (64 MiB in many containers), else a file without a
link in the temporary directory. It goes when the last process that has it goes.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Extent", "Memory", "Original", "read", "view_of"]

Extent: TypeAlias = tuple[int, int]
"""Where something lies: offset and length in bytes; for a value, where the list of its parts does."""

_ALIGNED = 64
"""Bytes; what vector instructions and Arrow like."""
_SPARE = 1.25
_PAGES = "/proc/self/pagemap"


class Memory:
    """The writer's end. It grows: then `fileno` is another descriptor, which the reader needs."""

    def __init__(self) -> None:
        self.fileno = -1
        self._map: mmap.mmap | None = None
        self._size = 0

    def write(self, value: Any) -> tuple[Extent, bool]:
        """Put a value in the place of the one before; returns where it lies and whether it has grown.

        A value of very many columns has very many parts: what has to be said of it in a message is short.

        Raises:
            OSError: there is no memory left.
            Exception: the value cannot be pickled.
        """
        buffers: list[pickle.PickleBuffer] = []
        head = io.BytesIO()
        _Pickler(head, protocol=5, buffer_callback=buffers.append).dump(value)
        parts = [head.getbuffer(), *(buffer.raw() for buffer in buffers)]
        extents, end = [], 0
        for part in parts:
            extents.append((end, part.nbytes))
            end += -(-part.nbytes // _ALIGNED) * _ALIGNED
        listed = memoryview(pickle.dumps(extents))
        where = (end, listed.nbytes)
        end += listed.nbytes
        grown = end > self._size
        if grown:
            self._grow(int(end * _SPARE))
        assert self._map is not None  # noqa: S101  it has grown at least once
        for (at, length), part in zip([*extents, where], [*parts, listed], strict=True):
            self._map[at : at + length] = part
        return where, grown

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the descriptor; what is mapped stays until nobody looks at it."""
        if self.fileno >= 0:
            os.close(self.fileno)
        self.fileno, self._map, self._size = -1, None, 0

    def _grow(self, size: int) -> None:
        self.close()
        self.fileno = _anonymous()
        # Otherwise a full disk or container would kill the writer by SIGBUS, in the middle of a copy.
        os.posix_fallocate(self.fileno, 0, size)
        self._map, self._size = mmap.mmap(self.fileno, size), size


class _Pickler(pickle.Pickler):
    """Leaves the contents of Arrow's arrays, also those of a batch, out of the pickle too."""

    def reducer_override(self, value: Any) -> Any:
        """Say how a value is made again."""
        arrow = sys.modules.get("pyarrow")
        if arrow is None or not isinstance(value, arrow.Array):
            return NotImplemented
        batch = arrow.RecordBatch.from_arrays([value], names=[""])
        stream = arrow.BufferOutputStream()
        with arrow.ipc.new_stream(stream, batch.schema) as writer:
            writer.write_batch(batch)
        return _array, (pickle.PickleBuffer(stream.getvalue()),)


def _array(stream: Any) -> Any:
    import pyarrow as pa

    with pa.ipc.open_stream(pa.py_buffer(stream)) as reader:
        return reader.read_next_batch().column(0)


def view_of(fileno: int) -> memoryview:
    """Map a memory for reading, and close the descriptor."""
    try:
        return memoryview(mmap.mmap(fileno, 0, access=mmap.ACCESS_READ))
    finally:
        os.close(fileno)


def read(view: memoryview, where: Extent) -> Any:
    """Return the value that was written; its arrays lie in the memory itself and are read-only."""
    at, length = where
    extents = pickle.loads(view[at : at + length])  # noqa: S301  written by a process of the same user
    head, *buffers = (view[at : at + length] for at, length in extents)
    return pickle.loads(head, buffers=buffers)  # noqa: S301  written by a process of the same user


class Original:
    """The reader's end for a user's function, which may change what it gets: others see nothing of it.

    The mapping is private: what is changed in it are pages of this process alone, from then on in the place
    of those of the memory, until they are dropped.
    """

    def __init__(self, fileno: int) -> None:
        try:
            self._map = mmap.mmap(fileno, 0, access=mmap.ACCESS_COPY)
        finally:
            os.close(fileno)
        self._bytes = np.frombuffer(self._map, np.uint8)
        self._lent = False
        """Whether somebody may have changed it since it was as it was sent."""

    def read(self, where: Extent) -> Any:
        """Return the value that was written, whatever was done to it since: numpy's arrays may be changed.

        Arrow's cannot: to Arrow, and to what gets its buffers, they are immutable.
        """
        self.restore()
        self._lent = True
        value = read(memoryview(self._map), where)
        if not isinstance(value, Mapping):
            return value
        return {name: self._changeable(column) for name, column in value.items()}

    def restore(self) -> None:
        """Drop what was changed; if nothing was, nothing is dropped: pages take a while to come back."""
        if self._lent and self._changed():
            self._map.madvise(mmap.MADV_DONTNEED)
        self._lent = False

    def _changeable(self, column: Any) -> Any:
        """Return an array that lies in here anew; others, as of texts, are copies already."""
        if not isinstance(column, np.ndarray) or column.flags.writeable:
            return column
        if not column.size:
            return column.copy()
        at = column.ctypes.data - self._bytes.ctypes.data
        return np.ndarray(column.shape, column.dtype, self._map, at, column.strides)

    def _changed(self) -> bool:
        """Ask the kernel whether pages are this process's own (Documentation/admin-guide/mm/pagemap.rst)."""
        first, count = self._bytes.ctypes.data // mmap.PAGESIZE, -(-len(self._map) // mmap.PAGESIZE)
        try:
            with Path(_PAGES).open("rb", buffering=0) as pagemap:
                pagemap.seek(8 * first)
                pages = np.frombuffer(pagemap.read(8 * count), np.uint64)
        except OSError:  # a sandbox without it
            return True
        own = (pages >> np.uint64(62) != 0) & (pages >> np.uint64(61) & np.uint64(1) == 0)
        return len(pages) < count or bool(own.any())


def _anonymous() -> int:
    try:
        return os.memfd_create("tritium", os.MFD_CLOEXEC)
    except (AttributeError, OSError):  # a sandbox without it
        fileno, path = tempfile.mkstemp(prefix="tritium-memory-")
        os.unlink(path)  # noqa: PTH108  no Path is needed for it
        return fileno
