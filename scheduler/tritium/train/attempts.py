"""Decides whether a gang that failed is tried again: when the machines are to blame, and not the code."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tritium.errors import GangLost, RankFailed, TritiumError

__all__ = ["tried", "worth_another"]

_T = TypeVar("_T")


def worth_another(error: TritiumError) -> bool:
    """Whether the next attempt may fare better.

    After a lost executor, a killed rank or a broken device it may; after a bug, a refusal, a time limit or a
    cancel it will not.

    >>> worth_another(GangLost("train: lost rank 1: its executor or Python worker went away"))
    True
    >>> worth_another(RankFailed(gang="train", rank=1, cause="ValueError: no rows"))
    False
    """
    match error:
        case GangLost():
            return True
        case RankFailed(by_machine=by_machine, sick=sick):
            return by_machine or bool(sick)
        case _:
            return False


def tried(
    attempt: Callable[[int], _T], *, retries: int, on_retry: Callable[[TritiumError], None] | None = None
) -> _T:
    """Call ``attempt`` with 0, 1, ... until it succeeds, or until another one is not worth it or not allowed.

    ``on_retry`` hears why an attempt failed that is followed by another.
    """
    for number in range(retries):
        try:
            return attempt(number)
        except TritiumError as error:
            if not worth_another(error):
                raise
            if on_retry is not None:
                on_retry(error)
    return attempt(retries)
