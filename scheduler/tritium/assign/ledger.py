"""Decides what is whose: events in, state out, and no device ever promised twice.

A grant ends only when the processes of all of its members are gone, whatever anybody says before.
Who gave way when asked is remembered, and is placed again when there is room.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tritium.assign.index import Index
from tritium.assign.take import give_back, take
from tritium.assign.types import Placement, Request

__all__ = ["Asked", "Contradiction", "Event", "Gone", "Grant", "Granted", "Ledger", "after"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one owner was given, and which of its members still run."""

    request: Request
    placement: Placement
    running: frozenset[int]
    """Ranks whose processes are not gone."""
    asked: bool = False
    """Whether it was asked to drain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Who has what, and who waits to go on."""

    index: Index
    """The cluster with everything taken that was granted: what the next request is placed on."""
    grants: Mapping[str, Grant] = field(default_factory=dict)
    """By owner, e.g. ``gang 7c1e``."""
    drained: Mapping[str, Request] = field(default_factory=dict)
    """Owners that gave way, and what to ask for again (``queue.assign_all`` says who fits)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """An owner was given a placement; a drained owner goes on with it."""

    owner: str
    request: Request
    placement: Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An owner was asked to drain."""

    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """The process of one member is gone; its peers may still reach into its devices."""

    owner: str
    rank: int


Event = Granted | Asked | Gone


class Contradiction(Exception):
    """An event speaks of an owner or a rank that is not there, or is there already."""


def after(ledger: Ledger, event: Event) -> Ledger:
    """Return the ledger after an event.

    Raises:
        Contradiction: if the event cannot follow on what the ledger says.
        Overcommitted: if it grants a device that is not free.
    """
    if isinstance(event, Granted):
        if event.owner in ledger.grants:
            raise Contradiction(f"{event.owner} was given devices already")
        return _granted(ledger, event)
    if event.owner not in ledger.grants:
        raise Contradiction(f"{event.owner} has nothing")
    grant = ledger.grants[event.owner]
    if isinstance(event, Asked):
        if grant.request.drain_s is None:
            raise Contradiction(f"{event.owner} never gives way")
        return replace(ledger, grants={**ledger.grants, event.owner: replace(grant, asked=True)})
    if event.rank not in grant.running:
        raise Contradiction(f"rank {event.rank} of {event.owner} is gone already")
    return _gone(ledger, event.owner, replace(grant, running=grant.running - {event.rank}))


def _granted(ledger: Ledger, event: Granted) -> Ledger:
    members = event.placement.members
    running = frozenset(member.rank for member in members)
    grant = Grant(request=event.request, placement=event.placement, running=running)
    return Ledger(
        index=take(ledger.index, event.owner, event.request, members),
        grants={**ledger.grants, event.owner: grant},
        drained={owner: request for owner, request in ledger.drained.items() if owner != event.owner},
    )


def _gone(ledger: Ledger, owner: str, grant: Grant) -> Ledger:
    if grant.running:
        return replace(ledger, grants={**ledger.grants, owner: grant})
    return Ledger(
        index=give_back(ledger.index, owner),
        grants={other: theirs for other, theirs in ledger.grants.items() if other != owner},
        drained={**ledger.drained, owner: grant.request} if grant.asked else ledger.drained,
    )
