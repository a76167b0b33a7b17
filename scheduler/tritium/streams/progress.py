"""What a stream's last micro-batch did, and how many messages waited for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Progress", "behind"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What the last micro-batch did; an idle stream tells of an empty one every ten seconds."""

    batch: int
    rows: int
    rows_per_s: float
    behind: int | None
    """Messages that no batch had yet when this one was planned, its own included: about what arrives while
    one batch is at work, and ever more in a stream that is too slow. ``None`` if the source cannot say."""


def behind(*, end: str, latest: str, rows: int) -> int | None:
    """Count the messages of a topic that waited for a batch: its own rows, and those beyond its end.

    ``end`` and ``latest`` are offsets as Spark's progress has them.

    >>> behind(end='{"t": {"0": 5, "1": 7}}', latest='{"t": {"0": 5, "1": 107}}', rows=12)
    112
    >>> behind(end="12", latest="12", rows=2) is None  # of no topic
    True
    """
    ends, latests = _offsets(end), _offsets(latest)
    if ends is None or latests is None:
        return None
    return rows + sum(max(0, offset - ends.get(at, offset)) for at, offset in latests.items())


def _offsets(text: str) -> Mapping[tuple[str, str], int] | None:
    """Return the offset of each partition of each topic."""
    try:
        topics = json.loads(text)
        return {(topic, at): int(offset) for topic, parts in topics.items() for at, offset in parts.items()}
    except (ValueError, TypeError, AttributeError):
        return None
