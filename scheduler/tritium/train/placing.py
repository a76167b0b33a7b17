"""Decides a gang's placement from what its tasks see, and which line of it is one task's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tritium.assign import (
    Assigned,
    Member,
    Placement,
    Request,
    Snapshot,
    Unassignable,
    Waiting,
    assign,
    drain_for,
)
from tritium.spark.inventory import TaskView, snapshot_of
from tritium.train.messages import Hello, Refusal
from tritium_discovery import Device, Uuid

__all__ = ["Asked", "Placed", "place"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What one attempt of a gang asks for."""

    request: Request
    policy: str
    avoid: Mapping[Uuid, str] = field(default_factory=dict)
    """Devices that failed in an earlier attempt, and how: they count as broken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A gang's placement and who is who in it."""

    placement: Placement
    tasks: tuple[int, ...]
    """By rank: the Spark task that runs it."""
    devices: Mapping[Uuid, Device]
    """Every device that the gang uses."""

    def member_of(self, task: int) -> Member:
        """Return the line of the placement that is this task's own."""
        return self.placement.members[self.tasks.index(task)]


def place(hellos: Sequence[Hello], asked: Asked) -> Placed | Refusal:
    """Place a gang over the executors on which Spark started its tasks.

    Every task calls this with the same hellos and gets the same answer.
    """
    if all(hello.rows == 0 for hello in hellos):
        return Refusal(reasons=("the data has no rows",), waits=False)
    views = [_without(hello.view, asked.avoid) for hello in hellos]
    snapshot = snapshot_of(views, priority=asked.request.priority)
    decision = assign(snapshot, asked.request, asked.policy)
    if not isinstance(decision, Assigned):
        return _refused(snapshot, decision, asked)
    members = decision.placement.members
    waiting: dict[tuple[str, str], list[int]] = {}
    for hello in sorted(hellos, key=lambda hello: hello.task):
        waiting.setdefault((hello.view.inventory.host, hello.view.pool_name), []).append(hello.task)
    tasks = tuple(waiting[member.host, member.pool].pop(0) for member in members)
    seen = {device.uuid: device for hello in hellos for device in hello.view.inventory.devices}
    used = {uuid: seen[uuid] for member in members for uuid in member.devices}
    return Placed(placement=decision.placement, tasks=tasks, devices=used)


def _refused(snapshot: Snapshot, decision: Waiting | Unassignable, asked: Asked) -> Refusal:
    """Say why a gang cannot start, and who should give way for it."""
    reasons = tuple(map(str, decision.reasons))
    drain = drain_for(snapshot, asked.request, asked.policy) if isinstance(decision, Waiting) else None
    if drain is None:
        return Refusal(reasons=reasons, waits=isinstance(decision, Waiting))
    return Refusal(reasons=reasons, waits=True, drains=drain.shares, within_s=drain.within_s)


def _without(view: TaskView, avoid: Mapping[Uuid, str]) -> TaskView:
    devices = tuple(
        replace(device, troubles=(*device.troubles, f"it failed in an earlier attempt: {avoid[device.uuid]}"))
        if device.uuid in avoid
        else device
        for device in view.inventory.devices
    )
    return replace(view, inventory=replace(view.inventory, devices=devices))
