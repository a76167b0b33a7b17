"""Decides which types of Parquet files are read as Spark reads them: the same values in another wrapping."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["dated", "is_list", "readable"]


def readable(stored: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a cast gives exactly what Spark would read: the same values in another wrapping."""
    import pyarrow.types as kinds

    if stored == wanted:
        return True
    if kinds.is_dictionary(stored):
        return readable(stored.value_type, wanted)
    if kinds.is_timestamp(wanted):
        zoned = wanted.tz is not None
        return kinds.is_timestamp(stored) and stored.unit in ("ms", "us") and (stored.tz is not None) == zoned
    if _is_text(wanted):
        return _is_text(stored)
    if _is_bytes(wanted):
        return _is_bytes(stored)
    if is_list(wanted):
        return is_list(stored) and readable(stored.value_type, wanted.value_type)
    if kinds.is_map(wanted):
        pairs = ((stored.key_type, wanted.key_type), (stored.item_type, wanted.item_type)) if (
            kinds.is_map(stored)) else ()  # fmt: skip
        return bool(pairs) and all(readable(*pair) for pair in pairs)
    if kinds.is_struct(wanted) and kinds.is_struct(stored):
        mine, theirs = list(wanted), list(stored)
        return [field.name for field in mine] == [field.name for field in theirs] and all(
            readable(other.type, field.type) for field, other in zip(mine, theirs, strict=True)
        )
    return False


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_string(kind) or kinds.is_large_string(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_binary(kind) or kinds.is_large_binary(kind))


def is_list(kind: pa.DataType) -> bool:
    """Whether it is a list of any sort."""
    import pyarrow.types as kinds

    return bool(kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind))


def dated(kind: pa.DataType) -> bool:
    """Whether there are dates or times in it, at any depth."""
    import pyarrow.types as kinds

    if kinds.is_nested(kind):
        return any(dated(kind.field(at).type) for at in range(kind.num_fields))
    return bool(kinds.is_date(kind) or kinds.is_timestamp(kind))
