"""Decides in what form a model gets its rows, and takes its answers out of the form that they have.

========== ===================================================================================
form       what ``predict`` gets
========== ===================================================================================
``numpy``  ``{column: array}``, rows along the first axis, as ``tritium.columns`` says: numbers
           ``(rows,)`` of their own type, lists of equal length ``(rows, length, ...)``, strings
           and binary ``(rows,)`` of objects; read-only
``torch``  ``{column: tensor}`` in main memory, of the same shapes and types and over the same
           memory; it may be changed in place, which nobody else sees. Strings, binary, dates
           and decimals have no tensor
``arrow``  one ``pyarrow.RecordBatch`` of the input columns: any type, nulls, ragged and nested
           lists included
========== ===================================================================================

An answer may have any of these forms, whatever was asked for.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from tritium.infer.failure import Failure

__all__ = ["FORMS", "Form", "copied", "cut", "formed", "named", "plain"]

Form: TypeAlias = Literal["numpy", "torch", "arrow"]
FORMS: tuple[Form, ...] = get_args(Form)


def formed(columns: Any, form: Form) -> Any:
    """Return what the model gets; nothing is copied.

    Raises:
        Failure: a column that no tensor can hold, or torch is not installed.
    """
    if form != "torch":
        return columns
    try:
        import torch
    except ImportError as err:
        raise Failure.of("there are no torch tensors", err) from err
    with warnings.catch_warnings():
        # The arrays are read-only; the memory behind them is private to this process.
        warnings.simplefilter("ignore", UserWarning)
        tensors = {}
        for name, array in columns.items():
            try:
                tensors[name] = torch.from_numpy(array)
            except (TypeError, ValueError) as err:
                raise Failure.of(f"no tensor can hold the column {name}", err) from err
    return tensors


def cut(columns: Any, rows: slice) -> Any:
    """Choose rows of a batch, whatever form it has: columns by name, or an Arrow batch."""
    if not isinstance(columns, Mapping):
        return columns.slice(rows.start, rows.stop - rows.start)
    return {name: values[rows] for name, values in columns.items()}


def copied(columns: Any) -> Any:
    """Keep rows longer than the memory that they came in."""
    if not isinstance(columns, Mapping):
        return columns.take(np.arange(columns.num_rows))
    return {name: values.copy() for name, values in columns.items()}


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
