"""Decides how a decision is told to people: text lines, the same for logs, errors and the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tritium.assign.types import Assigned, Constraints, Decision, Drain, Member, Reason, Unassignable

__all__ = ["explain"]


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
        lines = [f"fits: {len(members)} members", *_first([_member(member) for member in members], most)]
        return lines + [f"  given up: {_wish(wish)}" for wish in decision.given_up]
    reasons = _first([_reason(reason) for reason in decision.reasons], most)
    if isinstance(decision, Unassignable):
        return ["can never fit", *reasons]
    waits = [f"waits for {w.device} on {w.host}, held by {w.holder}" for w in decision.waits_for]
    return ["not now", *_first(waits, most), *reasons]


def _first(lines: Sequence[str], most: int) -> Iterator[str]:
    yield from (f"  {line}" for line in lines[:most])
    if len(lines) > most:
        yield f"  and {len(lines) - most} more"


def _member(member: Member) -> str:
    devices = ", ".join(member.devices) or "no device"
    where = f"{member.host} {member.pool}".strip()
    cpus = f", CPUs {member.cpus}" if member.cpus else ""
    return f"rank {member.rank} (local {member.local_rank}) on {where}: {devices}{cpus}"


def _reason(reason: Reason) -> str:
    return f"{reason.where}: {reason.sentence}" if reason.where else reason.sentence


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
