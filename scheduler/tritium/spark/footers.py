"""Edge to the feet of Parquet files: what they say of columns, row groups and dates, and which file it is."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tritium.spark.lists import leaf
from tritium.spark.splits import Calendar, Footer, Group, Mark

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["footer", "mark"]

_TAIL_BYTES = 8
"""Length of the foot, and ``PAR1``."""


def footer(path: str) -> Footer:
    """Read what a Parquet file says about itself.

    Raises:
        OSError, pyarrow.ArrowException: it cannot be read, or is no Parquet file.
        NotImplementedError: it has no columns, or what pyarrow does not know.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pa.memory_map(path) as stored, pq.ParquetFile(stored, coerce_int96_timestamp_unit="us") as file:
        told, schema = file.metadata, file.schema_arrow
        leaves = [told.schema.column(at) for at in range(told.num_columns)]
        old = {leaf.path.partition(".")[0] for leaf in leaves if leaf.physical_type == "INT96"}
        kinds = {
            field.name: pa.timestamp("us", "UTC")
            if field.name in old and pa.types.is_timestamp(field.type)
            else field.type
            for field in schema
        }
        chunks = [
            told.row_group(group).column(at)
            for group in range(told.num_row_groups)
            for at in range(told.num_columns)
        ]
        return Footer(
            kinds=kinds,
            groups=tuple(_group(told.row_group(at)) for at in range(told.num_row_groups)),
            codecs=frozenset(chunk.compression for chunk in chunks),
            mark=mark(stored),
            calendar=_calendar(told.metadata or {}),
            leaves={
                field.name: tuple(leaf(told, group, field.name) for group in range(told.num_row_groups))
                for field in schema
                if str(field.type).startswith(("list", "large_list", "fixed_size_list"))
            },
        )


def mark(stored: pa.MemoryMappedFile) -> Mark:
    """Say what tells this file from another of the same name; a few microseconds."""
    size = stored.size()
    stored.seek(max(size - _TAIL_BYTES, 0))
    length = int.from_bytes(stored.read(_TAIL_BYTES)[:4], "little")
    stored.seek(max(size - _TAIL_BYTES - length, 0))
    return Mark(size_bytes=size, foot=zlib.crc32(stored.read_buffer(length)))


def _calendar(told: Mapping[bytes, bytes]) -> Calendar:
    """Whose dates a file has, as Spark sees it (``DataSourceUtils.datetimeRebaseSpec``, ``int96RebaseSpec``).

    It compares versions letter by letter. Spark 3.0 had dates of today's calendar, but INT96 of the older.
    """
    if any(f"org.apache.spark.{mark}".encode() in told for mark in ("legacyDateTime", "legacyINT96")):
        return "older"
    version = told.get(b"org.apache.spark.version")
    if version is None:
        return "unknown"
    return "older" if version < b"3.1.0" else "today's"


def _group(told: Any) -> Group:
    columns = [told.column(at) for at in range(told.num_columns)]
    if not columns:
        raise NotImplementedError("it has no columns")
    first = columns[0]
    start = first.data_page_offset
    if first.has_dictionary_page and first.dictionary_page_offset:
        start = min(start, first.dictionary_page_offset)
    stored = sum(column.total_compressed_size for column in columns)
    return Group(rows=told.num_rows, middle=start + stored // 2, stored_bytes=told.total_byte_size)
