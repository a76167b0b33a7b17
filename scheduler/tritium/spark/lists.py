"""Decides whether a column of lists is read from its pages as they lie in a file, and why if it is not.

Worth it are lists of numbers that are all equally long, such as tensors: see `tritium.spark.pages`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tritium.spark.pages import Chunk

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["Decoded", "Leaf", "leaf", "lying"]

_NUMBERS = {
    "float": "FLOAT",
    "double": "DOUBLE",
    **dict.fromkeys(("int8", "int16", "int32"), "INT32"),
    "int64": "INT64",
}
"""What Parquet calls the numbers that it stores for types of Arrow's: it has none of one or two bytes."""
_STORED = {
    "FLOAT": np.dtype("f4"),
    "DOUBLE": np.dtype("f8"),
    "INT32": np.dtype("i4"),
    "INT64": np.dtype("i8"),
}
_CODECS = {
    "UNCOMPRESSED": None,
    "SNAPPY": "snappy",
    "GZIP": "gzip",
    "ZSTD": "zstd",
    "BROTLI": "brotli",
    "LZ4": "lz4_raw",
}
"""What pyarrow calls the codecs of files (its LZ4 is LZ4_RAW) and what decompresses their pages."""
_MOST_ELEMENTS = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """The only column of numbers, words or the like inside a column of lists, in one row group."""

    rows: int
    elements: int
    """How many there are; a list that is empty or null counts as one."""
    physical: str
    """As Parquet calls it, e.g. ``FLOAT``."""
    logical: str
    """E.g. ``NONE``, ``INT``."""
    repeats: int
    """Lists in lists."""
    defined: int
    """The level of an element that is no null."""
    codec: str
    nulls: int | None
    """``None``: the file does not say."""
    start: int
    """Where its pages begin in the file."""
    size: int
    """Bytes of all of its pages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """pyarrow decodes the column."""

    why: str
    """E.g. ``its elements are string``."""


def leaf(told: pq.FileMetaData, group: int, name: str) -> Leaf | None:
    """Find what a file says of a column of lists in a row group; ``None`` where it has not just one leaf."""
    schema = told.schema
    found = [at for at in range(told.num_columns) if schema.column(at).path.startswith(f"{name}.")]
    if len(found) != 1:
        return None
    kind, chunk = schema.column(found[0]), told.row_group(group).column(found[0])
    starts = (chunk.data_page_offset, chunk.dictionary_page_offset)
    counts = chunk.statistics
    return Leaf(
        rows=told.row_group(group).num_rows,
        elements=chunk.num_values,
        physical=kind.physical_type,
        logical=kind.logical_type.type,
        repeats=kind.max_repetition_level,
        defined=kind.max_definition_level,
        codec=chunk.compression,
        nulls=counts.null_count if counts is not None and counts.has_null_count else None,
        start=min(start for start in starts if start),  # some writers say 0 where there is no dictionary
        size=chunk.total_compressed_size,
    )


def lying(kind: pa.DataType, found: Leaf | None) -> Chunk | Decoded:
    """Say how the pages of a column of type ``kind`` are understood, or why pyarrow decodes them.

    Its pages decide in the end: whether all lists are equally long is seen there only.
    """
    import pyarrow as pa

    if not pa.types.is_list(kind) or found is None or found.repeats != 1:
        return Decoded(why="it is no list of numbers")
    if str(kind.value_type) not in _NUMBERS:
        return Decoded(why=f"its elements are {kind.value_type}")
    if found.physical != _NUMBERS[str(kind.value_type)]:
        return Decoded(why=f"its {kind.value_type} elements are stored as {found.physical}")
    if found.logical not in ("NONE", "INT"):
        what = f"{found.physical} ({found.logical})"
        return Decoded(why=f"its {kind.value_type} elements are stored as {what}")
    if found.codec not in _CODECS:
        return Decoded(why=f"it is compressed by {found.codec}")
    if found.nulls:
        return Decoded(why="it has nulls or empty lists")
    if not found.rows or found.elements % found.rows:
        return Decoded(why="its lists differ in length")
    if found.elements > _MOST_ELEMENTS:
        return Decoded(why=f"it has more than {_MOST_ELEMENTS} elements in a row group")
    return Chunk(
        rows=found.rows,
        elements=found.elements,
        kind=_STORED[found.physical],
        most=found.defined,
        codec=_CODECS[found.codec],
    )
