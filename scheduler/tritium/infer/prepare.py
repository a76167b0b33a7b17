"""Decides what the model gets of a batch: its columns, decoded and preprocessed, and which rows fail."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tritium.columns import to_numpy, to_padded, usual_shape
from tritium.infer.batches import joined
from tritium.infer.buckets import Padding
from tritium.infer.failure import Failure
from tritium.infer.feeder import Fed
from tritium.infer.forms import Form, chosen, cut, plain
from tritium.infer.parts import Bad, Part, Sizes, Trust, in_parts, placed, rows_left

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Prepare"]

_BLAME = {"decode": "rows do not fit predict", "preprocess": "preprocess failed"}


class Prepare:
    """The steps before the model, of one task, with the seconds that they take."""

    def __init__(
        self,
        *,
        columns: tuple[str, ...] | None,
        preprocess: Callable[[Any], Any] | None,
        quarantine: bool,
        form: Form = "numpy",
        padding: Padding | None = None,
        failed: str | None = None,
        nulls: bool = False,
    ) -> None:
        self._input, self._preprocess, self._form = columns, preprocess, form
        self._padding, self._failed, self._nulls = padding, failed, nulls
        self._sizes = Sizes()
        self._trusts = {step: Trust() for step in _BLAME} if quarantine else {}
        self.decode_s = self.preprocess_s = 0.0

    def trust(self) -> None:
        """Take it that each step has worked on other rows: whatever fails here is the rows' fault."""
        for trust in self._trusts.values():
            trust.succeeded()

    def feed(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Fed]:
        """Make batches ready, one after the other.

        Raises:
            Failure: rows do not fit the model's arrays, or the user's function failed.
        """
        return map(self._fed, batches)

    def _fed(self, whole: pa.RecordBatch) -> Fed:
        began = time.monotonic()
        bad = _known(whole.column(self._failed)) if self._failed is not None else []
        left = rows_left(whole.num_rows, bad)
        columns, more = self._decode(whole.take(np.array(left, int)) if bad else whole)
        bad += placed(more, left)
        decoded = time.monotonic()
        self.decode_s += decoded - began
        if self._preprocess is not None and columns is not None:
            left = rows_left(whole.num_rows, bad)
            columns, more = self._made(columns, len(left))
            bad += placed(more, left)
            self.preprocess_s += time.monotonic() - decoded
        rows = whole.num_rows - len(bad)
        return Fed(
            batch=whole,
            columns=columns if rows else None,
            rows=rows,
            bad=tuple(sorted(bad, key=lambda one: one.row)),
        )

    def _decode(self, batch: pa.RecordBatch) -> tuple[Any, list[Bad]]:
        """Make arrays of a batch; where that fails, rows of another shape than most have are to blame."""
        widths = self._padding.widths(batch) if self._padding is not None else {}
        shapes: Mapping[str, tuple[int, ...]] | None = None

        def attempt(begin: int, end: int) -> Any:
            nonlocal shapes
            if end - begin == batch.num_rows:
                return self._decoded(batch, widths, {})
            if shapes is None:
                shapes = self._usual(batch)
            return self._decoded(batch.slice(begin, end - begin), widths, shapes)

        parts, bad = self._step("decode", attempt, batch.num_rows)
        return _joined(parts), bad

    def _made(self, columns: Any, rows: int) -> tuple[Any, list[Bad]]:
        """Preprocess rows; what it made of parts may not fit together, as where it pads to the longest row.

        Then it makes all rows that went well once more, in one call.
        """

        def attempt(begin: int, end: int) -> Any:
            return self._preprocessed(cut(columns, slice(begin, end)), end - begin)

        parts, bad = self._step("preprocess", attempt, rows)
        try:
            return _joined(parts), bad
        except (KeyError, TypeError, ValueError):  # numpy's and Arrow's
            left = rows_left(rows, bad)
        try:
            return self._preprocessed(chosen(columns, left), len(left)), bad
        except Failure:
            raise
        except Exception as err:
            raise Failure.of(_BLAME["preprocess"], err) from err

    def _step(
        self, step: str, attempt: Callable[[int, int], Any], rows: int
    ) -> tuple[list[Part[Any]], list[Bad]]:
        try:
            return in_parts(rows, attempt, sizes=self._sizes, trust=self._trusts.get(step), step=step)
        except Failure:
            raise
        except Exception as err:
            raise Failure.of(_BLAME[step], err) from err

    def _usual(self, batch: pa.RecordBatch) -> Mapping[str, tuple[int, ...]]:
        """Say what shape the rows of a batch have, where one row of another may fail: what most have."""
        shapes: dict[str, tuple[int, ...]] = {}
        if self._form == "arrow":
            return shapes
        for name in self._input or batch.schema.names:
            column = batch.column(name)
            if column.null_count < len(column):
                padded = self._padding is not None and name in self._padding.fill
                shapes[name] = usual_shape(column.flatten() if padded else column)
        return shapes

    def _decoded(
        self, batch: pa.RecordBatch, widths: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]
    ) -> Any:
        names = self._input or batch.schema.names
        if self._form == "arrow":
            return batch.select(list(names))
        columns = {}
        for name in names:
            if self._padding is not None and name in widths:
                columns[name], columns[f"{name}_length"] = to_padded(
                    batch.column(name), width=widths[name], fill=self._padding.fill[name], name=name
                )
            else:
                columns[name] = to_numpy(batch.column(name), name=name, nulls=self._nulls)
        for name, array in columns.items():
            shape = array.shape[2 if name in widths else 1 :]
            expected = shapes.get(name, shape)
            if shape != expected:
                raise ValueError(f"{name}: rows of shape {shape}; most of their batch have {expected}")
        return columns

    def _preprocessed(self, columns: Any, rows: int) -> Any:
        assert self._preprocess is not None  # noqa: S101  it is only called if there is one
        if isinstance(columns, Mapping):
            for array in columns.values():
                array.flags.writeable = False  # what is tried after a failure needs the rows as they are
        made = self._preprocess(columns)
        if self._form == "arrow":
            lengths = {"the batch": _rows(made)}
        else:
            try:
                made = {name: plain(values) for name, values in made.items()}
            except TypeError as err:
                raise _unfit(str(err)) from err
            lengths = {name: len(values) for name, values in made.items()}
        for name, length in lengths.items():
            if length != rows:
                raise _unfit(f"{name}: {length} rows of {rows}")
        return made


def _known(errors: pa.StructArray) -> list[Bad]:
    """Take in what was wrong with rows before they came here."""
    if errors.null_count == len(errors):
        return []
    return [
        Bad(row=row, step=error["step"], kind=error["type"], message=error["message"])
        for row, error in enumerate(errors.to_pylist())
        if error is not None
    ]


def _rows(made: Any) -> int:
    import pyarrow as pa

    if not isinstance(made, pa.RecordBatch):
        raise _unfit(f"a {type(made).__name__} where a RecordBatch was given")
    return int(made.num_rows)


def _unfit(what: str) -> Failure:
    return Failure(f"preprocess returned what does not fit: {what}", "")


def _joined(parts: list[Part[Any]]) -> Any:
    if len(parts) == 1:
        return parts[0].value
    if not parts:
        return None
    if not isinstance(parts[0].value, Mapping):
        return joined([part.value for part in parts])
    return {name: np.concatenate([part.value[name] for part in parts]) for name in parts[0].value}
