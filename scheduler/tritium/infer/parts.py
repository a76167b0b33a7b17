"""Decides what becomes of a batch that fails: cut where memory ran out, else searched for its bad rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from tritium.infer.failure import Failure, first_line

__all__ = [
    "Bad", "Part", "Sizes", "Trust", "in_parts", "of_the_device", "out_of_memory", "placed", "rows_left",
]  # fmt: skip

_T = TypeVar("_T")
_HOPELESS = 32
"""So many rows alone must fail, and none ever succeed, until the function is to blame and not the rows."""
_MOST_BYTES = 1024
"""Of what went wrong with one row: there may be as many as there are rows."""
_PATIENCE = 64
"""So many batches that had to be cut must go well until parts of twice the size are tried again."""
_MEMORY_ERRORS = frozenset({"OutOfMemoryError", "ResourceExhaustedError"})
_OUT_OF_MEMORY = re.compile(
    # CUDA, HIP, torch, JAX, CuPy, XGBoost, TensorRT, ONNX Runtime's calls of CUDA
    "out[ _]?of[ _]?memory|cudaErrorMemoryAllocation|_STATUS_ALLOC_FAILED"
    # JAX and TensorFlow, and what the latter says where a copy to the device found no place
    "|RESOURCE_EXHAUSTED|Dst tensor is not initialized"
    # ONNX Runtime's arena (core/framework/bfc_arena.cc), full and at its limit
    "|Failed to allocate memory for requested buffer|Available memory of .* is smaller than requested bytes"
    # XGBoost (device_vector.cu), main memory of C++, of torch (c10/core/impl/alloc_cpu.cpp)
    "|Memory allocation error on worker|std::bad_alloc|^bad allocation$|(can't|cannot) allocate memory",
    re.IGNORECASE,
)
_OF_THE_DEVICE = re.compile(
    "CUDA error|CUDA_ERROR_|cudaError|HIP error|hipError|CUBLAS_STATUS_|CUDNN_STATUS_"
    "|CUDA failure"  # ONNX Runtime (core/providers/cuda/cuda_call.cc)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """One row that a step failed on."""

    row: int
    """Its place in the batch."""
    step: str
    """``decode``, ``preprocess``, ``predict`` or ``encode``."""
    kind: str
    """The exception, e.g. ``ValueError``."""
    message: str
    """Its first line, or the beginning of that."""

    @classmethod
    def of(cls, row: int, step: str, err: BaseException) -> Bad:
        """Say what went wrong with a row."""
        message = first_line(err, most_bytes=_MOST_BYTES)
        return cls(row=row, step=step, kind=type(err).__name__, message=message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part(Generic[_T]):
    """Consecutive rows of a batch that went well, and what came of them."""

    begin: int
    end: int
    value: _T


class Sizes:
    """How many rows fit into memory at once, as far as is known.

    >>> sizes = Sizes()
    >>> list(sizes.cut(0, 10)), sizes.too_many(10), list(sizes.cut(0, 12))
    ([(0, 10)], True, [(0, 5), (5, 10), (10, 12)])
    """

    def __init__(self) -> None:
        self.most: int | None = None
        """The largest number of rows worth trying; ``None`` while nothing was too much."""
        self._before: int | None = None
        self._cut = False
        self._went_well = 0

    def start(self, rows: int) -> None:
        """Begin with a batch; after some that were cut and went well, parts of twice the size are tried."""
        self._went_well += self._cut
        if self.most is not None and self._went_well >= _PATIENCE:
            self.most, self._went_well = 2 * self.most, 0
        self._before, self._cut = self.most, self.most is not None and rows > self.most

    def cut(self, begin: int, end: int) -> Iterator[tuple[int, int]]:
        """Cut a range of rows into ranges that should fit."""
        step = self.most or max(end - begin, 1)
        for at in range(begin, end, step):
            yield at, min(at + step, end)

    def too_many(self, rows: int) -> bool:
        """Remember that so many rows did not fit; returns whether fewer can be tried.

        One row that does not fit is to blame itself: it says nothing of others.
        """
        self.most, self._cut = rows // 2 or self._before, False
        return rows > 1


class Trust:
    """Whether failures are the rows' or the function's: one that never worked is not believed for long."""

    def __init__(self) -> None:
        self.worked = False
        self._failed = 0

    def succeeded(self) -> None:
        """Note that some rows went well."""
        self.worked = True

    def failed(self) -> bool:
        """Note a row that failed alone; returns whether there is still hope."""
        self._failed += 1
        return self.worked or self._failed < _HOPELESS

    def doubtful(self, rows: int) -> Sequence[int]:
        """Which rows of a failed batch to try first: some from all over it, while nothing ever worked.

        >>> Trust().doubtful(3), Trust().doubtful(64)[:3]
        ((0, 1, 2), (0, 2, 4))
        """
        if self.worked:
            return ()
        tried = min(rows, _HOPELESS - self._failed)
        return tuple(at * rows // tried for at in range(tried))


def out_of_memory(err: BaseException) -> bool:
    """Whether an error says that fewer rows might do: MemoryError, or what a framework says in its place.

    >>> [out_of_memory(err) for err in (MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: 2 GiB"), KeyError())]
    [True, True, False]
    """
    named = any(kind.__name__ in _MEMORY_ERRORS for kind in type(err).__mro__)
    return isinstance(err, MemoryError) or named or _OUT_OF_MEMORY.search(str(err)) is not None


def of_the_device(err: BaseException) -> bool:
    """Whether an error came from the device: after most of these no call in the same process succeeds.

    >>> of_the_device(RuntimeError("CUDA error: device-side assert triggered")), of_the_device(KeyError("x"))
    (True, False)
    """
    return _OF_THE_DEVICE.search(str(err)) is not None and not out_of_memory(err)


def in_parts(
    rows: int,
    attempt: Callable[[int, int], _T],
    *,
    sizes: Sizes,
    trust: Trust | None,
    step: str = "predict",
) -> tuple[list[Part[_T]], list[Bad]]:
    """Call ``attempt(begin, end)`` for all rows, in as few parts as go well; parts and bad rows are in order.

    Without ``trust`` no row may fail. With it a part that fails is halved until the guilty rows are alone.

    >>> def attempt(begin, end):
    ...     if begin <= 2 < end:
    ...         raise ValueError("a poison row")
    ...     return list(range(begin, end))
    >>> parts, bad = in_parts(4, attempt, sizes=Sizes(), trust=Trust())
    >>> [part.value for part in parts], [(one.row, one.message) for one in bad]
    ([[0, 1], [3]], [(2, 'a poison row')])

    Raises:
        Failure: ``attempt`` says that no row is to blame.
        Exception: whatever ``attempt`` raised that fewer rows cannot cure, or that every row causes.
    """
    parts: list[Part[_T]] = []
    bad: list[Bad] = []
    sizes.start(rows)
    todo = list(sizes.cut(0, rows))[::-1]
    while todo:
        begin, end = todo.pop()
        if sizes.most is not None and end - begin > sizes.most:
            todo += list(sizes.cut(begin, end))[::-1]
            continue
        try:
            value = attempt(begin, end)
        except Failure:
            raise  # of the program, whatever the rows are
        except Exception as err:
            if out_of_memory(err) and sizes.too_many(end - begin):
                todo.append((begin, end))
            elif trust is None or (end - begin == 1 and not trust.failed()):
                raise
            elif end - begin == 1:
                bad.append(Bad.of(begin, step, err))
            else:
                _probe(trust, begin, end, attempt)
                middle = (begin + end) // 2
                todo += [(middle, end), (begin, middle)]
        else:
            parts.append(Part(begin=begin, end=end, value=value))
            if trust is not None:
                trust.succeeded()
    return parts, bad


def _probe(trust: Trust, begin: int, end: int, attempt: Callable[[int, int], Any]) -> None:
    """Fail fast where everything fails, before each row of a large batch has been tried."""
    tried = trust.doubtful(end - begin)
    if len(tried) == end - begin:
        return  # so few rows are tried one by one anyway
    for at in tried:
        try:
            attempt(begin + at, begin + at + 1)
        except Failure:
            raise
        except Exception:
            if not trust.failed():
                raise
        else:
            trust.succeeded()
            return


def rows_left(rows: int, bad: Sequence[Bad]) -> Sequence[int]:
    """Return the rows that no step failed on.

    >>> rows_left(3, [Bad(row=1, step="predict", kind="ValueError", message="")])
    [0, 2]
    """
    if not bad:
        return range(rows)
    lost = {one.row for one in bad}
    return [row for row in range(rows) if row not in lost]


def placed(bad: Sequence[Bad], left: Sequence[int]) -> list[Bad]:
    """Give rows, which were numbered among those that were left, their places in the batch.

    >>> [one.row for one in placed([Bad(row=1, step="predict", kind="ValueError", message="")], [0, 2, 5])]
    [2]
    """
    return [replace(one, row=left[one.row]) for one in bad]
