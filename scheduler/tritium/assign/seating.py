"""Decides who is which rank: members are numbered host by host, inside a host in link order."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, overload

from tritium.assign.index import Entry
from tritium.assign.layout import Layout
from tritium.assign.types import Member

__all__ = ["Crew", "Ranks"]


class Crew(NamedTuple):
    """The members of one host: its names, and a layout that it shares with hosts of its make."""

    entry: Entry
    members: int
    layout: Callable[[], Layout]
    """Works it out when a member is looked at, and remembers it."""

    def member(self, rank: int, group_rank: int, local_rank: int) -> Member:
        """Return one of them."""
        pools, devices, cpus = self.layout()
        each = len(devices) // len(pools)
        mine = devices[local_rank * each : (local_rank + 1) * each]
        return Member(
            rank=rank,
            local_rank=local_rank,
            group_rank=group_rank,
            host=self.entry.id,
            pool=self.entry.pools[pools[local_rank]].name,
            devices=tuple(self.entry.uuids[position] for position in mine),
            cpus=cpus[local_rank],
        )


class Ranks(Sequence[Member]):
    """All members by rank, each made when it is looked at: a task looks at one of ten thousand.

    It equals a tuple of the same members, and is pickled as one.
    """

    __slots__ = ("_crews", "_starts")

    def __init__(self, crews: Sequence[Crew]) -> None:
        self._crews = crews
        self._starts = list(accumulate((crew.members for crew in crews), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def __iter__(self) -> Iterator[Member]:
        rank = 0
        for group_rank, crew in enumerate(self._crews):
            for local_rank in range(crew.members):
                yield crew.member(rank, group_rank, local_rank)
                rank += 1

    @overload
    def __getitem__(self, rank: int) -> Member: ...
    @overload
    def __getitem__(self, rank: slice) -> tuple[Member, ...]: ...
    def __getitem__(self, rank: int | slice) -> Member | tuple[Member, ...]:
        if isinstance(rank, slice):
            return tuple(self)[rank]
        rank = range(len(self))[rank]
        group_rank = bisect_right(self._starts, rank) - 1
        return self._crews[group_rank].member(rank, group_rank, rank - self._starts[group_rank])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, tuple | Ranks) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, (tuple(self),)
