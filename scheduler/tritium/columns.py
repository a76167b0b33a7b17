"""Decides how a column crosses between Arrow and numpy: without a copy wherever both can hold it.

======================================  =====================================================
Arrow                                   numpy
======================================  =====================================================
integers, floats                        1-D array of the same type, no copy
booleans                                1-D ``bool`` (Arrow has bits: a copy)
dates, timestamps, durations            1-D ``datetime64`` or ``timedelta64`` of the same unit
lists of equal length, fixed-size lists one more dimension, no copy of the values
strings, binary, decimals, times        1-D ``object`` of ``str``, ``bytes``, ...
dictionary encoded                      as what they encode
======================================  =====================================================

An array that was not copied is read-only, as the Arrow memory behind it is. No array can hold nulls,
lists of different lengths, structs or maps: those are one clear ValueError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Array", "as_array", "first_of", "to_arrow", "to_numpy", "to_padded", "usual_shape"]

Array: TypeAlias = np.ndarray[Any, Any]


def to_numpy(column: pa.Array | pa.ChunkedArray, *, name: str = "the column", nulls: bool = False) -> Array:
    """Return the column's rows along the first axis of an array.

    Chunks are joined, which copies if there is more than one. Without rows an inner dimension that the
    type does not fix is 0. With ``nulls`` those of numbers become NaN, as in pandas: integers with some
    become floats; those of strings, binary and booleans become ``None``.

    >>> import pyarrow as pa
    >>> to_numpy(pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32())))
    array([[1., 2.],
           [3., 4.]], dtype=float32)

    Raises:
        ValueError: a null, lists of different lengths, or a type without an array form; ``name`` says where.
    """
    import pyarrow as pa

    if isinstance(column, pa.ChunkedArray):
        chunks = [chunk for chunk in column.chunks if len(chunk)]
        if len(chunks) != 1:
            column = column.combine_chunks()
            chunks = [column] if isinstance(column, pa.Array) else column.chunks
        column = chunks[0] if chunks else pa.array([], column.type)
    return _array(column, name, nulls=nulls)


def _array(column: pa.Array, name: str, *, nulls: bool = False) -> Array:
    import pyarrow as pa

    kind = column.type
    if not nulls or pa.types.is_nested(kind):
        _refuse_nulls(column, name)
    if pa.types.is_dictionary(kind):
        return _array(column.dictionary_decode(), name, nulls=nulls)
    if pa.types.is_fixed_size_list(kind):
        return _rows(column, kind.list_size, name)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _rows(column, _length(column, name), name)
    if pa.types.is_nested(kind) or pa.types.is_null(kind):
        raise ValueError(f"{name}: no array can hold {kind}; select what you need of it")
    array: Array = column.to_numpy(zero_copy_only=False)  # objects too: several times faster than a list's
    return array


def to_padded(
    column: pa.Array, *, width: int, fill: Any, name: str = "the column"
) -> tuple[Array, np.ndarray[Any, np.dtype[np.int32]]]:
    """Return lists of different lengths as rows of ``width`` elements each, and how long they were.

    >>> import pyarrow as pa
    >>> to_padded(pa.array([[1, 2], [], [3]], pa.list_(pa.int8())), width=2, fill=-1)
    (array([[ 1,  2],
           [-1, -1],
           [ 3, -1]], dtype=int8), array([2, 0, 1], dtype=int32))

    Raises:
        ValueError: a null, a list that is too long, or a type that is no list; ``name`` says where.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise ValueError(f"{name}: only lists can be padded, not {kind}")
    _refuse_nulls(column, name)
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False).astype(np.int32)
    if (longest := int(lengths.max(initial=0))) > width:
        raise ValueError(f"{name}: a row of {longest} elements, {width} are the most")
    values = _array(column.flatten(), name)
    rows = np.full((len(column), width, *values.shape[1:]), fill, dtype=values.dtype)
    rows[np.arange(width) < lengths[:, None]] = values
    return rows, lengths


def _refuse_nulls(column: pa.Array, name: str) -> None:
    if column.null_count:
        raise ValueError(
            f"{name}: {column.null_count} of {len(column)} values are null; fill or drop them first"
        )


def _rows(column: pa.Array, length: int, name: str) -> Array:
    """Lists of one length, as rows; ``flatten`` heeds the offset of a slice, ``values`` does not."""
    inner = _array(column.flatten(), name)
    return inner.reshape(len(column), length, *inner.shape[1:])


def _length(column: pa.Array, name: str) -> int:
    offsets = column.offsets.to_numpy(zero_copy_only=False)
    lengths = np.diff(offsets)
    if not len(lengths):
        return 0
    shortest, longest = int(lengths.min()), int(lengths.max())
    if shortest != longest:
        found = f"{shortest} to {longest} elements"
        raise ValueError(f"{name}: its lists have {found}; an array needs equal lengths")
    return longest


def usual_shape(column: pa.Array) -> tuple[int, ...]:
    """Return the shape that most rows of a column have, whatever the others are; of numbers ``()``.

    >>> import pyarrow as pa
    >>> usual_shape(pa.array([[1], [1, 2], None, [3, 4]])), usual_shape(pa.array([[[1]], [[2]], [[3], [4]]]))
    ((2,), (1, 1))
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        return ()
    lengths = pc.list_value_length(column)
    usual = next((found["mode"] for found in pc.mode(lengths).to_pylist()), 0)
    return usual, *usual_shape(column.filter(pc.equal(lengths, usual)).flatten())


def to_arrow(values: Any, kind: pa.DataType, *, name: str = "the column") -> pa.Array:
    """Return an Arrow column of exactly the type ``kind``, one row per element of the first axis.

    ``values`` may be anything that numpy understands: an array, a list, a tensor in main memory. The
    last dimensions fill nested lists; ``None`` in an object array becomes a null, NaN stays NaN. It may be a
    list of lists of different lengths, and an Arrow column, which is cast if it has another type. Rows of one
    number each, as many models return them, may fill a column of numbers.

    >>> import pyarrow as pa
    >>> to_arrow(np.eye(2), pa.list_(pa.float32())).to_pylist()
    [[1.0, 0.0], [0.0, 1.0]]

    Raises:
        ValueError: the values do not fit the type; ``name`` says where.
    """
    import pyarrow as pa

    try:
        if isinstance(values, pa.ExtensionArray):
            values = values.storage
        if isinstance(values, pa.Array):
            return values if values.type == kind else values.cast(kind)
        if (array := _as_array(values)) is None:
            return pa.array([_lists(row) for row in values], kind)
        if array.shape[1:] == (1,) and not pa.types.is_nested(kind):
            array = array[:, 0]
        return _column(array, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as err:
        raise ValueError(f"{name}: cannot make {kind} of {_described(values)}: {err}") from err


def as_array(values: Any) -> Array:
    r"""Return values as an array, with texts and bytes in lists as objects.

    As numpy's own types of them they would lose NULs at their ends, and each take the room of the longest.

    >>> as_array([b"a\0", b"bcd"])
    array([b'a\x00', b'bcd'], dtype=object)

    Raises:
        ValueError: lists of different lengths.
    """
    if not isinstance(first_of(values), str | bytes):
        array = np.asarray(values)
        if isinstance(values, np.ndarray) or array.dtype.kind not in "SU":
            return array
    array = np.asarray(values, object)
    ragged = isinstance(next(array.flat, None), list | tuple)
    if ragged:
        raise ValueError("lists of different lengths")
    return array


def first_of(values: Any) -> Any:
    """Return the first of what is in a list, or in the first of its lists, or the value that is no list.

    >>> first_of([[[1, 2], [3]]]), first_of([]), first_of("ab")
    (1, [], 'ab')
    """
    while isinstance(values, list | tuple) and values:
        values = values[0]
    return values


def _as_array(values: Any) -> Array | None:
    """``None`` for a list that is none, as one of lists of different lengths."""
    try:
        return as_array(values)
    except ValueError:
        if isinstance(values, list):
            return None
        raise


def _column(array: Array, kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    if array.ndim == 0:
        raise ValueError("there are no rows")
    if array.ndim == 1:
        # numpy takes a list without elements for one of floats, whatever they would be
        as_list = array.dtype.kind in "OUS" or not array.size
        return pa.array(array.tolist() if as_list else np.ascontiguousarray(array), kind)
    length = array.shape[1]
    if pa.types.is_fixed_size_list(kind):
        if length != kind.list_size or not length:  # Arrow divides by the size
            raise ValueError(f"rows of {length} elements")
        return pa.FixedSizeListArray.from_arrays(_column(_merged(array), kind.value_type), type=kind)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        large = pa.types.is_large_list(kind)
        offsets = pa.array(np.arange(len(array) + 1) * length, pa.int64() if large else pa.int32())
        maker = pa.LargeListArray if large else pa.ListArray
        return maker.from_arrays(offsets, _column(_merged(array), kind.value_type), type=kind)
    raise ValueError(f"{array.ndim} dimensions")


def _lists(row: Any) -> Any:
    """Arrow takes lists of 1-D arrays."""
    return [_lists(part) for part in row] if isinstance(row, np.ndarray) and row.ndim > 1 else row


def _merged(array: Array) -> Array:
    """Join the first two dimensions."""
    return array.reshape(array.shape[0] * array.shape[1], *array.shape[2:])


def _described(values: Any) -> str:
    import pyarrow as pa

    if isinstance(values, pa.Array):
        return str(values.type)
    array = _as_array(values)
    return f"{array.dtype} of shape {array.shape}" if array is not None else "lists of different lengths"
