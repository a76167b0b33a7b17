"""Decides how a decision is told: to people as text, the same wherever it is read, to programs as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tritium.assign.decide import assign
from tritium.assign.queue import assign_all
from tritium.assign.reasons import asked, counted
from tritium.assign.types import (
    Assigned,
    Constraints,
    Decision,
    Drain,
    Member,
    Request,
    Snapshot,
    Unassignable,
)
from tritium.assign.waits import drain_for
from tritium.assign.wire import to_json

__all__ = ["Explanation", "Question", "answer", "answer_all", "explain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Would a request fit a cluster? All that is needed to ask again elsewhere: a saved snapshot is one."""

    snapshot: Snapshot
    request: Request
    policy: str = "packed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The answer to a question; ``str()`` is its text."""

    question: Question
    decision: Decision
    drain: Drain | None
    """Who could be asked to give way, if the request does not fit now."""

    def __str__(self) -> str:
        """Return what was asked, and the answer below it."""
        return "\n".join([asked(self.question.request), *explain(self.decision, self.drain)])

    def as_data(self) -> dict[str, Any]:
        """Return the answer as data for ``json.dumps``."""
        return {
            "asked": asked(self.question.request),
            "policy": self.question.policy,
            "answer": _verdict(self.decision),
            **to_json(self.decision),
            "drain": to_json(self.drain),
        }


def answer(question: Question) -> Explanation:
    """Assign, and say who could be asked to give way where that does not succeed."""
    decision = assign(question.snapshot, question.request, question.policy)
    fits = isinstance(decision, Assigned)
    drain = None if fits else drain_for(question.snapshot, question.request, question.policy)
    return Explanation(question=question, decision=decision, drain=drain)


def answer_all(question: Question, requests: Mapping[str, Request]) -> dict[str, Explanation]:
    """Ask several requests of the question's snapshot at once: none gets what a more important one needs."""
    decisions = assign_all(question.snapshot, requests, question.policy)
    return {
        name: Explanation(question=replace(question, request=request), decision=decisions[name], drain=None)
        for name, request in requests.items()
    }


def explain(decision: Decision, drain: Drain | None = None, *, most: int = 20) -> list[str]:
    """Return a decision as lines of text; of each list the first ``most`` entries, and a count of the others.

    ``drain`` is what ``drain_for`` answered for the same request, where somebody asked.

    >>> from tritium.assign.types import Reason, Unassignable
    >>> reason = Reason(rule="memory", where="node-7", sentence="GPU-8f6d: 9000 MiB, 16384 needed")
    >>> explain(Unassignable(reasons=(reason,)))
    ['can never fit', '  node-7: GPU-8f6d: 9000 MiB, 16384 needed']
    """
    lines = _told(decision, most)
    if drain is not None:
        asked = ", ".join(sorted({share.owner for share in drain.shares}))
        lines.append(f"fits within {drain.within_s:g} s if asked to drain: {asked}")
    return lines


def _told(decision: Decision, most: int) -> list[str]:
    if isinstance(decision, Assigned):
        members = decision.placement.members
        lines = [
            f"{_verdict(decision)}: {counted(len(members), 'member')}",
            *_first([_member(member) for member in members], most),
        ]
        return lines + [f"  given up: {_wish(wish)}" for wish in decision.given_up]
    reasons = _first([str(reason) for reason in decision.reasons], most)
    if isinstance(decision, Unassignable):
        return [_verdict(decision), *reasons]
    waits = [f"waits for {w.device} on {w.host}, held by {w.holder}" for w in decision.waits_for]
    return [_verdict(decision), *_first(waits, most), *reasons]


def _verdict(decision: Decision) -> str:
    if isinstance(decision, Assigned):
        return "fits"
    return "can never fit" if isinstance(decision, Unassignable) else "not now"


def _first(lines: Sequence[str], most: int) -> Iterator[str]:
    yield from (f"  {line}" for line in lines[:most])
    if len(lines) > most:
        yield f"  and {len(lines) - most} more"


def _member(member: Member) -> str:
    devices = ", ".join(member.devices) or "no device"
    where = f"{member.host} {member.pool}".strip()
    cpus = f", CPUs {member.cpus}" if member.cpus else ""
    return f"rank {member.rank} (local {member.local_rank}) on {where}: {devices}{cpus}"


def _wish(wish: Constraints) -> str:
    """Say a wish in the words of its fields, leaving out what it does not ask for.

    >>> _wish(Constraints(product="H100", near="nvlink"))
    'product H100, near nvlink'
    """
    nothing = Constraints()
    fields = ("min_memory_mib", "product", "min_capability", "mig_profile", "near", "apart")
    return ", ".join(
        f"{name} {getattr(wish, name)}" for name in fields if getattr(wish, name) != getattr(nothing, name)
    )
