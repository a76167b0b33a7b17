"""Decides what the pages of a Parquet column say whose lists are all equally long, such as tensors.

Readers of Parquet look at two levels beside each element, and that takes most of their time. Where lists
are equally long and nothing is null, levels repeat from page to page: once understood, they are only
compared, and the elements are copied as they lie in the file. Where they are encoded, as by a dictionary,
pyarrow decodes them, but without the levels. Other ways of storage are left to pyarrow.

The format is that of https://github.com/apache/parquet-format.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tritium.spark.pages_bound import DICTIONARY, Encoded, bound

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Chunk", "Unlike", "equal_lists"]

_PLAIN, _RLE = 0, 3
_V1, _V2 = 0, 3
_KNOWN_LEVELS = 256
"""Different runs of levels that are remembered."""


class Unlike(Exception):
    """The column is stored in a way that is left to pyarrow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One column of one row group."""

    rows: int
    elements: int
    kind: Any
    """Of an element as it is stored: what numpy calls it."""
    most: int
    """The level of definition that an element has which is no null."""
    codec: str | None
    """``None``: not compressed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    elements: int
    repeats: memoryview
    """Levels that say where lists begin."""
    defined: memoryview
    """Levels that say what is null."""
    encoding: int
    values: memoryview


def equal_lists(stored: memoryview, chunk: Chunk) -> pa.Buffer:
    """Return the elements of a column's lists, row after row, out of its pages as they lie in the file.

    Raises:
        Unlike: lists differ in length, something is null, or the pages are of another kind.
    """
    try:
        return _equal_lists(stored, chunk)
    except (ArithmeticError, LookupError, OSError, ValueError, struct.error) as err:
        raise Unlike(f"pages that are not understood: {err}") from err  # pyarrow says it better


def _equal_lists(stored: memoryview, chunk: Chunk) -> pa.Buffer:
    import pyarrow as pa

    length, rest = divmod(chunk.elements, max(chunk.rows, 1))
    if rest or not length:
        raise Unlike("lists of different lengths")
    made = pa.allocate_buffer(chunk.elements * chunk.kind.itemsize)
    into, done = np.frombuffer(made, chunk.kind), 0
    encoded: list[Encoded] = []
    places: list[slice] = []
    for page in _pages(stored.cast("B"), chunk):
        if isinstance(page, Encoded):
            encoded.append(page)
            continue
        end = done + page.elements
        if end > chunk.elements:
            raise Unlike("more elements than were announced")
        if not _regular(bytes(page.repeats), page.elements, -done % length, length):
            raise Unlike("lists of different lengths")
        if not _all(bytes(page.defined), page.elements, chunk.most):
            raise Unlike("nulls")
        if page.encoding == _PLAIN:
            into[done:end] = np.frombuffer(page.values, chunk.kind, page.elements)
        else:
            encoded.append(Encoded(count=page.elements, encoding=page.encoding, values=page.values))
            places.append(slice(done, end))
        done = end
    if done < chunk.elements:
        raise Unlike("fewer elements than were announced")
    if places:
        _decode(encoded, into, places)
    return made


def _decode(pages: list[Encoded], into: Any, places: list[slice]) -> None:
    """Let pyarrow decode elements, which are in order; plain ones may lie between them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(pa.BufferReader(bound(pages, into.dtype.str[1:]))) as file:
        values = file.read(use_threads=False).column(0).to_numpy()
    done = 0
    for place in places:
        end = done + place.stop - place.start
        into[place], done = values[done:end], end


def _pages(stored: memoryview, chunk: Chunk) -> Iterator[_Page | Encoded]:
    """Read pages, of which the first may be what others look their elements up in."""
    at = 0
    while at < len(stored):
        header, at = _struct(stored, at)
        size = header[3]
        page = stored[at : at + size]
        at += size
        if header[1] == _V1:
            yield _first_kind(page, header[5], plain=header[2], chunk=chunk)
        elif header[1] == _V2:
            yield _second_kind(page, header[8], plain=header[2], chunk=chunk)
        elif header[1] == DICTIONARY:
            values = _decompressed(page, header[2], chunk.codec)
            yield Encoded(dictionary=True, count=header[7][1], encoding=header[7][2], values=values)
        else:
            raise Unlike("a page of an unknown kind")


def _first_kind(page: memoryview, header: Mapping[int, Any], *, plain: int, chunk: Chunk) -> _Page:
    """A page whose levels are compressed together with its values."""
    if (header[3], header[4]) != (_RLE, _RLE):
        raise Unlike("levels of an older kind")
    page = _decompressed(page, plain, chunk.codec)
    repeats, rest = _measured(page)
    defined, values = _measured(rest)
    return _Page(elements=header[1], repeats=repeats, defined=defined, encoding=header[2], values=values)


def _second_kind(page: memoryview, header: Mapping[int, Any], *, plain: int, chunk: Chunk) -> _Page:
    """A page whose levels lie before its values and are not compressed."""
    repeats, levels = header[6], header[6] + header[5]
    codec = chunk.codec if header.get(7, True) else None
    return _Page(
        elements=header[1],
        repeats=page[:repeats],
        defined=page[repeats:levels],
        encoding=header[4],
        values=_decompressed(page[levels:], plain - levels, codec),
    )


def _decompressed(data: memoryview, size: int, codec: str | None) -> memoryview:
    import pyarrow as pa

    return data if codec is None else memoryview(pa.Codec(codec).decompress(data, size)).cast("B")


def _measured(data: memoryview) -> tuple[memoryview, memoryview]:
    """Split off what has its length in front."""
    (length,) = struct.unpack_from("<I", data)
    return data[4 : 4 + length], data[4 + length :]


@lru_cache(_KNOWN_LEVELS)
def _regular(repeats: bytes, count: int, first: int, length: int) -> bool:
    """Whether lists begin at ``first`` and then after every ``length`` elements.

    >>> _regular(bytes([3, 0b1110]), 8, 0, 4), _regular(bytes([3, 0b11101110]), 8, 0, 4)
    (False, True)
    """
    begins = np.flatnonzero(_levels(repeats, count, width=1) == 0)
    return np.array_equal(begins, np.arange(first, count, length))


@lru_cache(_KNOWN_LEVELS)
def _all(levels: bytes, count: int, most: int) -> bool:
    """Whether all levels are the highest."""
    return bool((_levels(levels, count, width=most.bit_length()) == most).all())


def _levels(data: bytes, count: int, *, width: int) -> Any:
    """Decode levels: runs of one value, and groups of eight values of ``width`` bits.

    >>> _levels(bytes([8, 1, 3, 0b01010101]), 10, width=1).tolist()
    [1, 1, 1, 1, 1, 0, 1, 0, 1, 0]
    """
    found, done, at = np.empty(count + 8 * len(data), dtype=np.uint8), 0, 0
    while done < count:
        run, at = _varint(data, at)
        if run & 1:
            size = (run >> 1) * width
            bits = np.unpackbits(np.frombuffer(data, np.uint8, size, at), bitorder="little")
            values = bits.reshape(-1, width) @ (1 << np.arange(width, dtype=np.uint8))
            found[done : done + len(values)] = values
            done, at = done + len(values), at + size
        else:
            found[done : done + (run >> 1)] = data[at]
            done, at = done + (run >> 1), at + 1
    return found[:count]


# Thrift's compact protocol, as far as the headers of pages need it.

_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _STRUCT = 1, 2, 3, 7, 8, 12
_INTEGERS = frozenset({4, 5, 6})
_LAST_OF_NUMBER = 127


def _struct(data: memoryview, at: int) -> tuple[dict[int, Any], int]:
    """Read a structure as its fields' values by number."""
    found: dict[int, Any] = {}
    number = 0
    while (head := data[at]) != 0:
        at += 1
        if not head >> 4:
            raise Unlike("a header with unknown fields")
        number, kind = number + (head >> 4), head & 15
        found[number], at = _value(data, at, kind)
    return found, at + 1


def _value(data: memoryview, at: int, kind: int) -> tuple[Any, int]:
    if kind in (_TRUE, _FALSE):
        return kind == _TRUE, at
    if kind in _INTEGERS:
        zigzag, at = _varint(data, at)
        return (zigzag >> 1) ^ -(zigzag & 1), at
    if kind == _BINARY:
        length, at = _varint(data, at)
        return None, at + length
    if kind == _STRUCT:
        return _struct(data, at)
    if kind in (_BYTE, _DOUBLE):
        return None, at + (1 if kind == _BYTE else 8)
    raise Unlike("a header with unknown fields")


def _varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & _LAST_OF_NUMBER) << shift
        at, shift = at + 1, shift + 7
        if byte <= _LAST_OF_NUMBER:
            return value, at
