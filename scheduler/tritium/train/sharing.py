"""Decides what ranks that gather get: everybody's values, or a sentence where they made different calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tritium.train.messages import Share, Shared

__all__ = ["Sharing"]


@dataclass(slots=True, kw_only=True)
class Sharing:
    """Pairs the calls of all ranks of one gang, the first of each with the first of the others.

    >>> sharing = Sharing(size=2)
    >>> sharing.takes(Share(rank=1, call=0, operation="barrier()", payload=b""))
    []
    >>> (told,) = sharing.takes(Share(rank=0, call=0, operation="all_gather()", payload=b"x"))
    >>> told.mismatch
    'call 1 of rank 1 is barrier(), of rank 0 all_gather(): ranks must call the same in the same order'
    """

    size: int
    """Ranks of the gang."""
    _open: dict[int, dict[int, Share]] = field(default_factory=dict)
    """By call, by rank: what was put into those that not all have made yet."""

    @property
    def waiting(self) -> set[int]:
        """The ranks that wait for others."""
        return {rank for parts in self._open.values() for rank in parts}

    def takes(self, share: Share) -> list[Shared]:
        """Take in one rank's call; returns what all ranks are told, once that is known."""
        parts = self._open.setdefault(share.call, {})
        parts[share.rank] = share
        mismatch = _mismatch(parts)
        if not mismatch and len(parts) < self.size:
            return []
        del self._open[share.call]
        payloads = () if mismatch else tuple(parts[rank].payload for rank in range(self.size))
        return [Shared(call=share.call, payloads=payloads, mismatch=mismatch)]


def _mismatch(parts: Mapping[int, Share]) -> str:
    first, *others = parts.values()
    for other in others:
        if other.operation != first.operation:
            return (
                f"call {first.call + 1} of rank {first.rank} is {first.operation}, of rank "
                f"{other.rank} {other.operation}: ranks must call the same in the same order"
            )
    return ""
