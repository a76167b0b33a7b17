"""Decides what a loaded model answers to one batch: in parts if it must, with the rows that failed named."""

from __future__ import annotations

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

        Raises:
            Failure: the user's function failed, or returned what does not fit.
            Broken: and whatever it is given now, it will fail.
        """
        began = time.monotonic()

        def attempt(begin: int, end: int) -> Mapping[str, Any]:
            return self._called(cut(fresh(), slice(begin, end)), end - begin)

        try:
            parts, bad = in_parts(
                rows, attempt, sizes=self._sizes, trust=self._trust if self.quarantine else None
            )
            self._doubt(fresh, parts, bad)
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
            found = self._fitting(answer, rows)
        except SystemExit as err:
            raise Failure.of("predict failed", err) from err
        finally:
            self.called = None
        return {name: _apart(made, columns) for name, made in found.items()}

    def _fitting(self, answer: Any, rows: int) -> Mapping[str, Any]:
        try:
            return _by_name(answer, self.output, rows)
        except (ValueError, TypeError) as err:
            # This is a mistake of the program, whatever the rows are.
            raise Failure.of("predict returned what does not fit", err) from err

    def _doubt(self, fresh: Callable[[], Any], parts: Sequence[Part[Any]], bad: Sequence[Bad]) -> None:
        """Find out whether a model that failed on some rows still does what it could."""
        if self._proof is None and parts:
            self._proof = copied(cut(fresh(), slice(parts[0].begin, parts[0].begin + 1)))
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


def _apart(made: Any, columns: Any) -> Any:
    """Copy an answer that lies in the rows themselves, which do not stay as the function left them."""
    if isinstance(made, list):
        return [_apart(one, columns) if isinstance(one, np.ndarray) else one for one in made]
    if not isinstance(made, np.ndarray) or not isinstance(columns, Mapping):
        return made
    inside = any(isinstance(c, np.ndarray) and np.may_share_memory(made, c) for c in columns.values())
    return made.copy() if inside else made


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
