"""Decides how pages of numbers are bound into a file of their own, which pyarrow decodes without levels.

What is encoded in a page, as by a dictionary, is decoded by pyarrow in no time, if only no levels have to
be looked at. So the pages, whose levels are known by then, get the header and the foot of a file that
has a single column of numbers.

The format is that of https://github.com/apache/parquet-format, written by Thrift's compact protocol.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["DICTIONARY", "Encoded", "bound"]

DICTIONARY = 2
"""The kind of a page that others look their values up in."""
_DATA, _RLE, _REQUIRED, _UNCOMPRESSED, _VERSION = 0, 3, 0, 0, 1
_KINDS = {"i4": 1, "i8": 2, "f4": 4, "f8": 5}
_MAGIC = b"PAR1"

_Field: TypeAlias = "tuple[int, int, Any]"
"""Number, kind and value."""
_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A page without levels, decompressed."""

    dictionary: bool = False
    """Others look their values up in it."""
    count: int
    encoding: int
    values: memoryview


def bound(pages: Sequence[Encoded], kind: str) -> bytes:
    """Make a Parquet file of one column that cannot be null, of numbers that numpy calls ``kind``.

    A page with a dictionary comes first, if there is one.
    """
    written = [part for page in pages for part in (_header(page), page.values)]
    size = sum(len(part) for part in written)
    count = sum(page.count for page in pages if not page.dictionary)
    first = len(_MAGIC)
    has_dictionary = pages[0].dictionary
    data = first + (len(written[0]) + len(written[1]) if has_dictionary else 0)
    column = [
        (1, _I32, _KINDS[kind]),
        (2, _LIST, (_I32, sorted({page.encoding for page in pages}))),
        (3, _LIST, (_BINARY, [b"x"])),
        (4, _I32, _UNCOMPRESSED),
        (5, _I64, count),
        (6, _I64, size),
        (7, _I64, size),
        (9, _I64, data),
        *([(11, _I64, first)] if has_dictionary else []),
    ]
    leaf = [(1, _I32, _KINDS[kind]), (3, _I32, _REQUIRED), (4, _BINARY, b"x")]
    group = [
        (1, _LIST, (_STRUCT, [[(2, _I64, first), (3, _STRUCT, column)]])),
        (2, _I64, size),
        (3, _I64, count),
    ]
    root = [(4, _BINARY, b"x"), (5, _I32, 1)]
    foot = _struct(
        [
            (1, _I32, _VERSION),
            (2, _LIST, (_STRUCT, [root, leaf])),
            (3, _I64, count),
            (4, _LIST, (_STRUCT, [group])),
        ]
    )
    return b"".join([_MAGIC, *written, foot, struct.pack("<I", len(foot)), _MAGIC])


def _header(page: Encoded) -> bytes:
    size = len(page.values)
    kind, number, levels = (
        (DICTIONARY, 7, []) if page.dictionary else (_DATA, 5, [(3, _I32, _RLE), (4, _I32, _RLE)])
    )
    told = [(1, _I32, page.count), (2, _I32, page.encoding), *levels]
    return _struct([(1, _I32, kind), (2, _I32, size), (3, _I32, size), (number, _STRUCT, told)])


def _struct(fields: Iterable[_Field]) -> bytes:
    written, last = bytearray(), 0
    for number, kind, value in fields:
        written.append((number - last) << 4 | kind)
        written += _value(kind, value)
        last = number
    return bytes(written) + b"\0"


def _value(kind: int, value: Any) -> bytes:
    if kind == _STRUCT:
        return _struct(value)
    if kind == _BINARY:
        return _varint(len(value)) + bytes(value)
    if kind == _LIST:
        of, values = value
        return bytes([len(values) << 4 | of]) + b"".join(_value(of, one) for one in values)
    return _varint(value << 1)  # zigzag, of numbers that are never negative


def _varint(value: int) -> bytes:
    r"""Write seven bits per byte.

    >>> _varint(300)
    b'\xac\x02'
    """
    written = bytearray()
    while value > 127:  # noqa: PLR2004
        written.append(value & 127 | 128)
        value >>= 7
    written.append(value)
    return bytes(written)
