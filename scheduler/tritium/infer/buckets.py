"""Decides which rows of different lengths go to the model together, how wide, and puts them back in order.

Rows are looked at in windows of several batches. Those of a window that fit the same bucket go to the model
together, so that no call has more padding than its bucket makes necessary; their answers are put back into
the order that the rows had. What does not fill a batch is not carried over to the next window, for it would
hold back the rows behind it: a window of eight batches has one partly filled batch per bucket at most.
Without buckets a batch is as wide as its longest row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tritium.infer.batches import joined, rebatch

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Padding", "Windows", "groups"]

_WINDOW = 8
"""Batches per window: enough rows to fill most buckets, few enough to hold back."""

Lengths: TypeAlias = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Padding:
    """What rows of different lengths are made as wide as each other with."""

    fill: Mapping[str, Any]
    """The value behind the end of a row's list, per column, e.g. ``{"tokens": 0}``."""
    buckets: tuple[int, ...] = ()
    """The widths that a batch may have, ascending; none: that of its longest row."""

    def widths(self, batch: pa.RecordBatch) -> Mapping[str, int]:
        """Say how wide each padded column of a batch becomes.

        With buckets all of them have one width, the smallest bucket that holds the longest list.

        >>> import pyarrow as pa
        >>> batch = pa.RecordBatch.from_pydict({"x": [[1], [1, 2, 3]], "y": [[1], []]})
        >>> Padding(fill={"x": 0, "y": 0}).widths(batch)
        {'x': 3, 'y': 1}
        >>> Padding(fill={"x": 0, "y": 0}, buckets=(2, 4)).widths(batch)
        {'x': 4, 'y': 4}
        """
        longest = {name: int(_lengths(batch.column(name)).max(initial=0)) for name in self.fill}
        if not self.buckets:
            return longest
        at = int(np.searchsorted(self.buckets, max(longest.values())))
        return dict.fromkeys(longest, self.buckets[min(at, len(self.buckets) - 1)])


def groups(lengths: Lengths, *, buckets: Sequence[int], size: int) -> list[Lengths]:
    """Choose the rows of each batch: of one bucket, ``size`` at most, in the order that they have.

    Rows that no bucket holds come last, and apart: they are bad.

    >>> [rows.tolist() for rows in groups(np.array([3, 9, 1, 4, 2, 70]), buckets=(4, 16), size=3)]
    [[0, 2, 3], [4], [1], [5]]
    """
    bucket = np.searchsorted(buckets, lengths)
    by_bucket = [np.flatnonzero(bucket == number) for number in range(len(buckets) + 1)]
    return [rows[at : at + size] for rows in by_bucket for at in range(0, len(rows), size)]


class Windows:
    """Cuts the rows of one task into batches by length, and puts what comes of them into order again."""

    def __init__(self, padding: Padding, *, size: int) -> None:
        self._padding, self._size = padding, size
        self._waiting: deque[tuple[int, Lengths]] = deque()
        """Of each window on its way: how many batches it is, and the place of each of its rows in them."""

    def cut(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Cut all rows into batches of one bucket each."""
        for window in rebatch(batches, _WINDOW * self._size):
            longest = np.max([_lengths(window.column(name)) for name in self._padding.fill], axis=0)
            chosen = groups(longest, buckets=self._padding.buckets, size=self._size)
            self._waiting.append((len(chosen), np.argsort(np.concatenate(chosen))))
            for rows in chosen:
                yield window.take(rows)

    def restored(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Join what came of those batches, one for one, to windows with the rows in their old order."""
        parts: list[pa.RecordBatch] = []
        for batch in batches:
            # Its answers lie in memory that those to the next batch overwrite.
            parts.append(batch.take(np.arange(batch.num_rows)))
            count, places = self._waiting[0]
            if len(parts) == count:
                self._waiting.popleft()
                yield joined(parts).take(places)
                parts = []


def _lengths(column: pa.Array) -> Lengths:
    """Count the elements of each list; a null has none."""
    import pyarrow.compute as pc

    lengths: Lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    return lengths
