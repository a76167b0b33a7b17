"""Decides what comes out for a batch: its own columns, the model's answers, and what was wrong with a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tritium.columns import to_arrow
from tritium.infer.batches import stacked
from tritium.infer.failure import Failure
from tritium.infer.feeder import Answered
from tritium.infer.forms import cut
from tritium.infer.parts import Bad, Sizes, Trust, in_parts, placed, rows_left

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ERROR", "Extend"]

ERROR = "step string, type string, message string"
"""Fields of the column that says what was wrong with a row, null if nothing was."""


class Extend:
    """The step behind the model, of one task."""

    def __init__(
        self,
        kept: tuple[str, ...],
        output: tuple[tuple[str, pa.DataType], ...],
        error: tuple[str, pa.DataType] | None,
        *,
        quarantine: bool,
    ) -> None:
        self._kept, self._output, self._error = kept, output, error
        self._trust = Trust() if quarantine else None

    def extended(self, answered: Answered) -> pa.RecordBatch:
        """Return the batch with the new columns behind its own.

        Raises:
            Failure: the model's answers do not fit the declared types.
        """
        import pyarrow as pa

        batch, fed = answered.fed.batch, answered.fed
        left = rows_left(batch.num_rows, fed.bad)
        bad = [*fed.bad]
        columns: list[pa.Array] = [pa.nulls(0, kind) for _, kind in self._output]
        if answered.answer is not None:
            bad += placed(answered.answer.bad, left)
            left = rows_left(batch.num_rows, bad)
            columns, unfit = self._encoded(answered.answer.values, len(left))
            bad += placed(unfit, left)
        if bad:
            columns = _spread(columns, rows_left(batch.num_rows, bad), batch.num_rows)
        if self._error is not None:
            columns.append(_errors(bad, batch.num_rows, self._error[1]))
        added = [name for name, _ in self._output] + ([self._error[0]] if self._error is not None else [])
        kept = [batch.column(name) for name in self._kept]
        return pa.RecordBatch.from_arrays([*kept, *columns], names=[*self._kept, *added])

    def _encoded(self, values: Any, rows: int) -> tuple[list[pa.Array], list[Bad]]:
        import pyarrow as pa

        def attempt(begin: int, end: int) -> list[pa.Array]:
            part = values if end - begin == rows else cut(values, slice(begin, end))
            return [to_arrow(part[name], kind, name=name) for name, kind in self._output]

        try:
            parts, bad = in_parts(rows, attempt, sizes=Sizes(), trust=self._trust, step="encode")
        except Exception as err:
            raise Failure.of("predict returned what does not fit", err) from err
        if len(parts) == 1:
            return parts[0].value, bad
        columns = zip(*(part.value for part in parts), strict=True) if parts else ((),) * len(self._output)
        named = zip(self._output, columns, strict=True)
        return [stacked([pa.nulls(0, kind), *pieces], name=name) for (name, kind), pieces in named], bad


def _spread(columns: Sequence[pa.Array], rows: Sequence[int], total: int) -> list[pa.Array]:
    """Put answers where their rows are, and nulls elsewhere."""
    import pyarrow as pa

    places: list[int | None] = [None] * total
    for place, row in enumerate(rows):
        places[row] = place
    chosen = pa.array(places, pa.int64())
    return [column.take(chosen) for column in columns]


def _errors(bad: Sequence[Bad], rows: int, kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    if not bad:
        return pa.nulls(rows, kind)
    found: list[dict[str, str] | None] = [None] * rows
    for one in bad:
        found[one.row] = {"step": one.step, "type": one.kind, "message": one.message}
    return pa.array(found, kind)
