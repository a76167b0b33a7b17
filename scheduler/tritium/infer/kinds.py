"""Decides whether arguments are of the kind that a call expects, before anything else looks at them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeAlias

__all__ = ["KINDS", "Kinds", "below", "mistyped", "nearest", "number", "or_none"]

Kinds: TypeAlias = Mapping[str, tuple[str, Callable[[Any], bool]]]
"""What an argument of this name should be, in words, and what tells whether it is."""


def _names(value: object) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and all(isinstance(name, str) for name in value)
    )


def number(value: object) -> bool:
    """Whether it is one, Python's or numpy's, and no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool)


def _whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def or_none(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Let ``None`` pass too."""
    return lambda value: value is None or fits(value)


KINDS: Kinds = {
    "df": ("a Spark DataFrame", lambda value: hasattr(value, "mapInArrow")),
    "model": ("a function that loads the model onto a device", callable),
    "make_predict_fn": ("a function that returns the function that predicts", callable),
    "input": ("a list of column names", or_none(_names)),
    "keep": ("a list of column names", or_none(_names)),
    "output": ("names and types, such as 'label int'", lambda value: isinstance(value, str)),
    "pad": ("a mapping of columns to what they are filled with", or_none(lambda v: isinstance(v, Mapping))),
    "buckets": (
        "a list of integers",
        lambda value: isinstance(value, Sequence) and all(_whole(one) for one in value),
    ),
    **dict.fromkeys(("batch_size", "ahead", "gpu", "min_memory_mib", "priority"), ("an integer", _whole)),
    "share_mib": ("an integer", or_none(_whole)),
    **dict.fromkeys(("wait_s", "keep_s", "model_timeout_s"), ("a number of seconds", number)),
    "preprocess": ("a function", or_none(callable)),
    "model_path": (
        "a pathlib.Path or a function",
        or_none(lambda value: isinstance(value, Path) or callable(value)),
    ),
    "report": ("a pathlib.Path", or_none(lambda value: isinstance(value, Path))),
}


def mistyped(kinds: Kinds, /, **given: object) -> list[str]:
    """Name the arguments that are of another kind than what they are called asks for.

    >>> mistyped(KINDS, batch_size="8", input="n", model=len)
    ["batch_size: expected an integer, got '8'", "input: expected a list of column names, got 'n'"]
    """
    return [
        f"{name}: expected {kinds[name][0]}, got {_shown(value)}"
        for name, value in given.items()
        if not kinds[name][1](value)
    ]


def below(at_least: Mapping[str, tuple[int, int]]) -> list[str]:
    """Name the arguments whose number is below the least that makes sense.

    >>> below({"batch_size": (0, 1), "gpu": (0, 0)})
    ['batch_size: expected an integer >= 1, got 0']
    """
    return [
        f"{name}: expected an integer >= {least}, got {value!r}"
        for name, (value, least) in at_least.items()
        if value < least
    ]


def nearest(word: str, known: Collection[str]) -> str:
    """Return what the user probably meant, as the end of a sentence.

    >>> nearest("rank", ["ranks", "retries"])
    'did you mean ranks?'
    >>> nearest("zzz", ["ranks", "retries"])
    'known here: ranks, retries'
    """
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(sorted(known))}"


def _shown(value: object) -> str:
    if value is None or isinstance(value, str | int | float):
        return repr(value)
    kind = type(value)
    package = "" if kind.__module__ == "builtins" else f"{kind.__module__.partition('.')[0]}."
    return f"a {package}{kind.__qualname__}"
