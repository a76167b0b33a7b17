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
from tritium.infer.forms import Form, cut, plain
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
        self._shapes: dict[str, tuple[int, ...]] = {}
        self.decode_s = self.preprocess_s = 0.0

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
        batch = whole.take(np.array(left, int)) if bad else whole
        widths = self._padding.widths(batch) if self._padding is not None else {}
        self._settle(batch)

        def decode(begin: int, end: int) -> Any:
            return self._decoded(batch.slice(begin, end - begin), widths)

        def preprocess(begin: int, end: int) -> Any:
            return self._preprocessed(columns, begin, end)

        columns, more = self._step("decode", decode, batch.num_rows)
        bad += placed(more, left)
        decoded = time.monotonic()
        self.decode_s += decoded - began
        if self._preprocess is not None and columns is not None:
            left = rows_left(whole.num_rows, bad)
            columns, more = self._step("preprocess", preprocess, len(left))
            bad += placed(more, left)
            self.preprocess_s += time.monotonic() - decoded
        rows = whole.num_rows - len(bad)
        return Fed(
            batch=whole,
            columns=columns if rows else None,
            rows=rows,
            bad=tuple(sorted(bad, key=lambda one: one.row)),
        )

    def _step(self, step: str, attempt: Callable[[int, int], Any], rows: int) -> tuple[Any, list[Bad]]:
        try:
            parts, bad = in_parts(rows, attempt, sizes=self._sizes, trust=self._trusts.get(step), step=step)
        except Failure:
            raise
        except Exception as err:
            raise Failure.of(_BLAME[step], err) from err
        return _joined(parts), bad

    def _settle(self, batch: pa.RecordBatch) -> None:
        """Decide what shape rows have, where one row of another may fail: the one that most have."""
        if not self._trusts or self._form == "arrow":
            return
        for name in self._input or batch.schema.names:
            column = batch.column(name)
            if name not in self._shapes and column.null_count < len(column):
                padded = self._padding is not None and name in self._padding.fill
                self._shapes[name] = usual_shape(column.flatten() if padded else column)

    def _decoded(self, batch: pa.RecordBatch, widths: Mapping[str, int]) -> Any:
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
            expected = self._shapes.get(name, shape)
            if shape != expected:
                raise ValueError(f"{name}: rows of shape {shape}; most of the first batch have {expected}")
        return columns

    def _preprocessed(self, columns: Any, begin: int, end: int) -> Any:
        assert self._preprocess is not None  # noqa: S101  it is only called if there is one
        made = self._preprocess(cut(columns, slice(begin, end)))
        if self._form == "arrow":
            lengths = {"the batch": _rows(made)}
        else:
            made = {name: plain(values) for name, values in made.items()}
            lengths = {name: len(values) for name, values in made.items()}
        for name, length in lengths.items():
            if length != end - begin:
                raise _unfit(f"{name}: {length} rows of {end - begin}")
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
