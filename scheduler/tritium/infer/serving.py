"""Decides what a loaded model answers to one batch: in parts if it must, with the rows that failed named."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tritium.infer.failure import Broken, Failure
from tritium.infer.forms import Form, copied, cut, named, plain, tensors
from tritium.infer.parts import Bad, Part, Sizes, Trust, in_parts, of_the_device

__all__ = ["Answer", "Model", "joined"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the model said to a batch."""

    values: Mapping[str, Any]
    """Output columns of the rows that are not ``bad``, in order."""
    bad: tuple[Bad, ...] = ()
    predict_s: float
    """Seconds in the user's function."""
    most: int | None
    """The largest batch that fits into memory, if one did not."""


@dataclass(slots=True)
class Model:
    """A user's ``predict`` with what is known of it: how much fits, and whether it ever worked."""

    predict: Callable[[Any], Any]
    output: tuple[str, ...]
    quarantine: bool
    form: Form = "numpy"
    called: float | None = None
    """Since when, while the user's function is running, or what it returned comes off the device."""
    _sizes: Sizes = field(default_factory=Sizes)
    _trust: Trust = field(default_factory=Trust)
    _proof: Any = None
    """One row that went well."""

    def answer(self, fresh: Callable[[], Any], rows: int) -> Answer:
        """Predict one batch, whose columns are ``fresh()`` whatever was done to them before.

        The function may change what it gets. All rows at once lie in the shared memory, parts of them, which
        are tried after a failure, are copies; so are the answers to these, as the next may overwrite them.

        Raises:
            Failure: the user's function failed, or returned what does not fit.
            Broken: and whatever it is given now, it will fail.
        """
        began = time.monotonic()

        as_sent = functools.cache(fresh)

        def attempt(begin: int, end: int) -> Mapping[str, Any]:
            if end - begin == rows:
                return self._at_once(fresh(), rows)
            part = copied(cut(as_sent(), slice(begin, end)))
            answer: Mapping[str, Any] = copied(self._called(part, end - begin))
            return answer

        try:
            parts, bad = in_parts(
                rows, attempt, sizes=self._sizes, trust=self._trust if self.quarantine else None
            )
            self._doubt(as_sent, parts, bad)
        except Failure:
            raise
        except Exception as err:
            raise Failure.of("predict failed", err) from err
        return Answer(
            values={name: joined([part.value[name] for part in parts]) for name in self.output},
            bad=tuple(bad),
            predict_s=time.monotonic() - began,
            most=self._sizes.most,
        )

    def _at_once(self, columns: Any, rows: int) -> Mapping[str, Any]:
        proof = copied(cut(columns, slice(0, 1))) if self._proof is None else self._proof
        answer = self._called(columns, rows)
        self._proof = proof
        return answer

    def _called(self, columns: Any, rows: int) -> Mapping[str, Any]:
        try:
            return self._answered(columns, rows)
        except Failure:
            raise
        except Exception as err:
            if of_the_device(err) and not self._still_works():
                raise Broken.of("predict failed", err) from err
            raise

    def _answered(self, columns: Any, rows: int) -> Mapping[str, Any]:
        self.called = time.monotonic()
        try:
            answer = self.predict(tensors(columns) if self.form == "torch" else columns)
            return self._fitting(answer, rows)
        except SystemExit as err:
            raise Failure.of("predict failed", err) from err
        finally:
            self.called = None

    def _fitting(self, answer: Any, rows: int) -> Mapping[str, Any]:
        try:
            return _by_name(answer, self.output, rows)
        except (ValueError, TypeError) as err:
            # This is a mistake of the program, whatever the rows are.
            raise Failure.of("predict returned what does not fit", err) from err

    def _doubt(self, as_sent: Callable[[], Any], parts: Sequence[Part[Any]], bad: Sequence[Bad]) -> None:
        """Find out whether a model that failed on some rows still does what it could."""
        if self._proof is None and parts:
            self._proof = copied(cut(as_sent(), slice(parts[0].begin, parts[0].begin + 1)))
        if bad and self._proof is not None and not self._still_works():
            raise Broken(f"predict failed: {bad[-1].kind}: {bad[-1].message}", "")

    def _still_works(self) -> bool:
        """Try what went well before; where nothing ever did, there is nothing to be said for the model."""
        if self._proof is None:
            return False
        try:
            self._answered(copied(self._proof), 1)
        except Exception:  # noqa: BLE001  whatever it is
            return False
        return True


def _by_name(answer: Any, output: Sequence[str], rows: int) -> Mapping[str, Any]:
    """Give the answer's columns their names, and take them out of the framework that made them."""
    by_name = named(answer, output[0])
    if by_name.keys() != set(output):
        there = ", ".join(map(str, by_name))
        raise ValueError(f"it has the columns {there}; declared are {', '.join(output)}")
    found = {name: plain(by_name[name]) for name in output}
    for name, values in found.items():
        if isinstance(values, np.ndarray) and not values.ndim:
            raise ValueError(f"{name}: {repr(by_name[name])[:40]} is no column of {rows} rows")
        if len(values) != rows:
            raise ValueError(f"{name}: {len(values)} rows for a batch of {rows}")
    return found


def joined(parts: list[Any]) -> Any:
    """Put the answers to the parts of a batch together, whatever forms they have.

    Rows that are wider in one part than in another stay as they are, in a list: a model that pads to the
    longest of its batch answers so.

    >>> joined([np.array([[1, 2]]), np.array([[3]])])
    [array([1, 2]), array([3])]
    """
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return np.empty(0)
    if all(isinstance(part, np.ndarray) for part in parts) and len({part.shape[1:] for part in parts}) == 1:
        return np.concatenate(parts)
    return [row for part in parts for row in _rows(part)]


def _rows(part: Any) -> list[Any]:
    if isinstance(part, list):
        return part
    if not isinstance(part, np.ndarray):
        rows: list[Any] = part.to_pylist()  # what is neither is an Arrow array
        return rows
    return list(part) if part.ndim < 3 else [_rows(row) for row in part]  # noqa: PLR2004  Arrow takes lists of 1-D arrays
