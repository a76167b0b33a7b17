"""Decides which tasks have been silent and which ranks idle for too long, and collects where they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from tritium.errors import TooSlow
from tritium.train.messages import Beat, Here, Idle

__all__ = ["Vigil"]

_STACKS_S = 5.0
"""How long ranks are waited for to say where they are."""


@dataclass(slots=True)
class Vigil:
    """When each task was heard last, and since when its rank has done nothing that could be seen.

    >>> vigil = Vigil()
    >>> for event in (Beat(task=0), Beat(task=1), Idle(task=1, seconds=2.0)):
    ...     vigil.takes(event, now=1.0)
    >>> vigil.takes(Beat(task=1), now=5.0)
    >>> vigil.silent(3.0, now=5.0), vigil.idle(3.0, now=5.0)
    ([0], [1])
    """

    verdict: TooSlow | None = None
    """Why the gang will end once its ranks have said where they are."""
    _heard: dict[int, float] = field(default_factory=dict)
    _idle_since: dict[int, float] = field(default_factory=dict)
    _stacks_by: float = 0.0
    _stacks: dict[int, str] = field(default_factory=dict)
    """By rank: where it is."""

    def takes(self, event: object, *, now: float) -> None:
        """Take down what an event says about time."""
        match event:
            case Here(task=task) | Beat(task=task):
                self._heard[task] = now
            case Idle(task=task, seconds=seconds):
                self._idle_since[task] = now - seconds
            case _:
                pass

    def forgets(self, task: int) -> None:
        """Expect no more of a task."""
        self._heard.pop(task, None)
        self._idle_since.pop(task, None)

    def silent(self, limit_s: float, *, now: float) -> list[int]:
        """List the tasks that were heard last more than ``limit_s`` ago."""
        return sorted(task for task, at in self._heard.items() if now - at > limit_s)

    def idle(self, limit_s: float, *, now: float) -> list[int]:
        """List the tasks whose ranks have done nothing for more than ``limit_s``."""
        return sorted(task for task, since in self._idle_since.items() if now - since > limit_s)

    def stalled(
        self, limit_s: float, *, ranks: Mapping[int, int], waiting: Collection[int], now: float
    ) -> str | None:
        """Say which ranks are stuck, if any; one that ``waits`` in a barrier waits for somebody else."""
        idle = sorted(ranks[task] for task in self.idle(limit_s, now=now) if task in ranks)
        if not idle:
            return None
        stuck = [rank for rank in idle if rank not in waiting] or idle
        who = f"rank {stuck[0]}" if len(stuck) == 1 else f"ranks {', '.join(map(str, stuck))}"
        return f"{who} reported, gathered and printed nothing for {limit_s:g} s (stall_timeout_s)"

    def condemns(self, verdict: TooSlow, *, now: float) -> None:
        """Let the gang end for this, once its ranks have said where they are."""
        self.verdict, self._stacks_by = verdict, now + _STACKS_S

    def learns(self, rank: int, stacks: str) -> None:
        """Take down where a rank is."""
        self._stacks[rank] = stacks.strip() or "(it did not answer)"

    def knows(self, living: Collection[int], *, now: float) -> bool:
        """Whether all ranks that live have said where they are, or have had the time to."""
        return self.verdict is not None and (now > self._stacks_by or self._stacks.keys() >= set(living))

    def traced(self) -> TooSlow | None:
        """Return the verdict with what is known of where the ranks were."""
        if self.verdict is not None:
            parts = (f"rank {rank}:\n{text}" for rank, text in sorted(self._stacks.items()))
            self.verdict.trace = "\n\n".join(parts)
        return self.verdict
