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

An answer may have any of these forms, whatever was asked for.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from tritium.infer.failure import Failure

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
    """
    torch, arrow = sys.modules.get("torch"), sys.modules.get("pyarrow")
    if torch is not None and isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    if arrow is not None and isinstance(values, arrow.ChunkedArray):
        return values.combine_chunks()
    if isinstance(values, np.ndarray) or (arrow is not None and isinstance(values, arrow.Array)):
        return values
    try:
        return np.asarray(values)
    except ValueError:
        return list(values)
