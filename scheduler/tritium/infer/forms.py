"""Decides in what form a model gets its rows, and takes its answers out of the form that they have.

========== ===================================================================================
form       what ``predict`` gets
========== ===================================================================================
``numpy``  ``{column: array}``, rows along the first axis, as ``tritium.columns`` says: numbers
           ``(rows,)`` of their own type, lists of equal length ``(rows, length, ...)``, strings
           and binary ``(rows,)`` of objects
``torch``  ``{column: tensor}`` in main memory, of the same shapes and types. Strings, binary,
           dates and decimals have no tensor
``arrow``  one ``pyarrow.RecordBatch`` of the input columns: any type, nulls, ragged and nested
           lists included
========== ===================================================================================

Arrays and tensors may be changed in place, and are overwritten by the next batch.

An answer may have any of these forms, whatever was asked for, or be a list. Texts and bytes with NULs at
their ends keep them in a list, or an array of objects; numpy's own types of them (``U``, ``S``) do not.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from tritium.columns import as_array, first_of
from tritium.infer.failure import Failure
from tritium.infer.parts import of_the_device, out_of_memory

__all__ = ["FORMS", "Form", "chosen", "copied", "cut", "named", "plain", "tensors"]

Form: TypeAlias = Literal["numpy", "torch", "arrow"]
FORMS: tuple[Form, ...] = get_args(Form)


def tensors(columns: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return columns as tensors of the same memory.

    Raises:
        Failure: a column that no tensor can hold, or torch is not installed.
    """
    try:
        import torch
    except ImportError as err:
        raise Failure.of("there are no torch tensors", err) from err
    made = {}
    for name, array in columns.items():
        try:
            made[name] = torch.from_numpy(array)
        except TypeError as err:
            raise Failure.of(f"no tensor can hold the column {name}", err) from err
    return made


def cut(columns: Any, rows: slice) -> Any:
    """Choose rows of a batch, whatever form it has: columns by name, or an Arrow batch."""
    if not isinstance(columns, Mapping):
        return columns.slice(rows.start, rows.stop - rows.start)
    return {name: values[rows] for name, values in columns.items()}


def chosen(columns: Any, rows: Sequence[int]) -> Any:
    """Choose single rows of a batch, which copies them."""
    if not isinstance(columns, Mapping):
        return columns.take(np.array(rows, int))
    return {name: values[np.array(rows, int)] for name, values in columns.items()}


def copied(columns: Any) -> Any:
    """Keep rows longer than the memory that they came in."""
    if not isinstance(columns, Mapping):
        return columns.take(np.arange(columns.num_rows))
    return {name: _copy(values) for name, values in columns.items()}


def _copy(values: Any) -> Any:
    if isinstance(values, (np.ndarray, list)):
        return copy.deepcopy(values)  # there may be arrays in a list
    return values.take(np.arange(len(values)))


def named(answer: Any, only: str) -> Mapping[str, Any]:
    """Give an answer's columns their names; one without names is the column ``only``.

    >>> named([1, 2], "y")
    {'y': [1, 2]}
    """
    arrow = sys.modules.get("pyarrow")
    if arrow is not None and isinstance(answer, (arrow.RecordBatch, arrow.Table)):
        return {name: answer.column(name) for name in answer.schema.names}
    return answer if isinstance(answer, Mapping) else {only: answer}


def plain(values: Any) -> Any:
    """Take values out of the framework that made them, and off the device: an array, or a list.

    What is no array stays a list if it cannot be one, e.g. lists of different lengths.

    Raises:
        TypeError: no array can be made of it, whatever is in the rows, or some of it is masked.
    """
    try:
        return _plain(values)
    except RuntimeError as err:
        if type(err) in (RuntimeError, NotImplementedError) and not (
            of_the_device(err) or out_of_memory(err)
        ):
            raise TypeError(str(err)) from err
        raise  # some frameworks compute as late as here, with errors of their own or of the device


def _plain(values: Any) -> Any:
    torch, arrow = sys.modules.get("torch"), sys.modules.get("pyarrow")
    if torch is not None and isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    if arrow is not None and isinstance(values, arrow.ChunkedArray):
        return values.combine_chunks()
    if arrow is not None and isinstance(values, arrow.Array):
        return values
    first = first_of(values)
    if isinstance(first, np.ma.MaskedArray) and (masked := np.sum(np.ma.asarray(values).mask)):
        raise TypeError(f"{masked} values are masked; fill them, or return Arrow's nulls")
    if torch is not None and isinstance(first, torch.Tensor):
        values = [_plain(one) for one in values]
    try:
        return as_array(values)
    except ValueError:
        return list(values)
