"""Decides whose failure ended a gang: its peers fail too, and may be heard first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tritium.train.messages import Outcome

__all__ = ["FAILED", "is_cause"]

FAILED = "failed"
"""The moment at which a rank failed: told at once, long before its processes are gone and its outcome is."""

_UNSEEN_S = 0.5
"""A process that exits closes its sockets before anybody sees its end: peers may raise sooner than that."""


def is_cause(
    rank: int | None, outcome: Outcome, blamed: Outcome, moments: Mapping[int, Mapping[str, float]]
) -> bool:
    """Whether an outcome that is heard later than the one that was blamed is the cause of it.

    A rank that breaks off in the middle of a collective makes its peers raise; of others the first is.
    """
    if blamed.kind == "raised" and outcome.broke_off:
        return True
    failed = {one: told[FAILED] for one, told in moments.items() if FAILED in told}
    if blamed.kind == "raised" and outcome.kind == "exited" and rank in failed:
        failed[rank] -= _UNSEEN_S
    first = min(failed, key=failed.__getitem__, default=None)
    return outcome.failed and not blamed.broke_off and rank is not None and rank == first
