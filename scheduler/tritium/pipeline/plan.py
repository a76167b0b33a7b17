"""Decides what would run where: a pipeline and a snapshot of the devices in, placements or reasons out.

It asks the same assigner that the gang and the inference job ask when they run, and chooses nothing
itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from tritium.assign import Assigned, Decision, Pool, Request, Snapshot, assign
from tritium.errors import Unplaceable
from tritium.pipeline.results import StageName
from tritium.pipeline.spec import Pipeline
from tritium.pipeline.table import table
from tritium_discovery import Device, Link, LinkKind, Uuid

__all__ = ["Outlook", "Plan", "StagePlan", "as_data", "as_text", "plan", "require", "why"]

POLICY = "packed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """The devices that a pipeline may count on, as they are before it starts."""

    hostname: str
    machine: str | None
    """The emulated machine, ``None`` on real hardware."""
    snapshot: Snapshot
    replicas: int
    """Tasks that Spark will run at once in inference, so models that may be loaded side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """What one stage asks for, and what the assigner answered."""

    stage: StageName
    request: Request
    decision: Decision

    @property
    def asks(self) -> str:
        """The request in words."""
        request = self.request
        if request.kind == "replicas":
            asked = f"{_count(request.members, 'replica')} of the model, one device each"
        elif request.devices_each == 0:
            asked = f"{_count(request.members, 'rank')} on the CPU"
        else:
            asked = f"{_count(request.members, 'rank')} with {_count(request.devices_each, 'device')} each"
        return asked + (f" of at least {request.min_memory_mib} MiB" if request.min_memory_mib else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would run where."""

    name: str
    outlook: Outlook
    stages: tuple[StagePlan, ...]


def plan(pipeline: Pipeline, outlook: Outlook) -> Plan:
    """Place the stages that use devices. Each gets all of them: the one before has given its own back."""
    gpu = pipeline.train.gpu
    requests: dict[StageName, Request] = {
        "train": Request(
            members=pipeline.train.ranks, devices_each=gpu.per_rank, min_memory_mib=gpu.min_memory_mib
        )
    }
    if pipeline.infer is not None:
        memory = pipeline.infer.gpu.min_memory_mib
        requests["infer"] = Request(members=outlook.replicas, kind="replicas", min_memory_mib=memory)
    stages = tuple(
        StagePlan(stage=stage, request=request, decision=assign(outlook.snapshot, request, POLICY))
        for stage, request in requests.items()
    )
    return Plan(name=pipeline.name, outlook=outlook, stages=stages)


def require(planned: Plan) -> None:
    """Let a plan pass in which every stage has its devices.

    Raises:
        Unplaceable: a stage has not; with the assigner's reasons.
    """
    for stage in planned.stages:
        if not isinstance(stage.decision, Assigned):
            reasons = [
                f"{reason.where}: {reason.sentence}".removeprefix(": ") for reason in stage.decision.reasons
            ]
            raise Unplaceable(f"spec.{stage.stage}: {stage.asks}; the assigner refused:", reasons)


def as_data(planned: Plan) -> dict[str, Any]:
    """Return a plan for programs."""
    devices = _devices(planned.outlook.snapshot)
    return {
        "pipeline": planned.name,
        "host": planned.outlook.hostname,
        "emulatedMachine": planned.outlook.machine,
        "policy": POLICY,
        "stages": [
            {
                "stage": stage.stage,
                "asks": stage.asks,
                "why": list(why(planned, stage)),
                "members": [
                    {
                        "rank": member.rank,
                        "localRank": member.local_rank,
                        "groupRank": member.group_rank,
                        "host": member.host,
                        "pool": member.pool,
                        "devices": [
                            {"uuid": uuid, "address": devices[uuid].address, "product": devices[uuid].product}
                            for uuid in member.devices
                        ],
                    }
                    for member in stage.decision.placement.members
                ],
            }
            for stage in planned.stages
            if isinstance(stage.decision, Assigned)
        ],
    }


def as_text(planned: Plan) -> str:
    """Return a plan for people; the stages that use no device are in it too."""
    emulated = f", devices emulated ({planned.outlook.machine})" if planned.outlook.machine else ""
    lines = [f"pipeline {planned.name} on {planned.outlook.hostname}{emulated}"]
    for stage in planned.stages:
        rows = list(_rows(planned, stage))
        lines += ["", f"{stage.stage}: {stage.asks}", *table(_HEAD[stage.stage], rows, indent="  ")]
        lines += [f"  why: {sentence}" for sentence in why(planned, stage)]
    return "\n".join(lines)


_HEAD: Mapping[StageName, tuple[str, ...]] = {
    "train": ("rank", "where", "address", "device", "product"),
    "infer": ("replica", "where", "address", "device", "product"),
}


def _rows(planned: Plan, stage: StagePlan) -> Iterator[tuple[str, ...]]:
    devices = _devices(planned.outlook.snapshot)
    if not isinstance(stage.decision, Assigned):
        return
    for member in stage.decision.placement.members:
        if not member.devices:
            yield (str(member.rank), member.pool, "-", "CPU", "-")
        for uuid in member.devices:
            device = devices[uuid]
            yield (str(member.rank), member.pool, str(device.address), uuid, device.product)


def why(planned: Plan, stage: StagePlan) -> Iterator[str]:
    """Yield what spoke for the chosen devices and against the others."""
    if not isinstance(stage.decision, Assigned):
        return
    chosen = [uuid for member in stage.decision.placement.members for uuid in member.devices]
    if not chosen:
        yield "ranks that compute on the CPU need no device"
        return
    every = _devices(planned.outlook.snapshot)
    pools = [pool for host in planned.outlook.snapshot.hosts for pool in host.pools]
    usable = [device for device in every.values() if not _against(device, pools, stage.request)]
    yield f"policy {POLICY}, {len(chosen)} of {len(usable)} devices that qualify"
    if stage.request.kind == "gang":
        yield from _joined(planned.outlook.snapshot, chosen)
    for device in every.values():
        if reason := _against(device, pools, stage.request):
            yield f"not {device.uuid}: {reason}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _against(device: Device, pools: list[Pool], request: Request) -> str:
    holder = next((pool.held[device.uuid] for pool in pools if device.uuid in pool.held), None)
    if not device.healthy:
        return "; ".join(device.troubles)
    if holder is not None:
        return f"held by {holder}"
    if device.memory_mib < request.min_memory_mib:
        return f"{device.memory_mib} MiB, {request.min_memory_mib} needed"
    return ""


def _joined(snapshot: Snapshot, chosen: list[Uuid]) -> Iterator[str]:
    """Say how fast the chosen devices of each host reach each other: by the slowest pair."""
    for host in snapshot.hosts:
        own = {device.uuid for pool in host.pools for device in pool.devices}
        pairs = combinations(sorted(own & set(chosen)), 2)
        links = [host.links.get(pair, Link(kind=LinkKind.SYS)) for pair in pairs]
        if links:
            slowest = min(links)
            lanes = f" x{slowest.lanes}" if slowest.lanes else ""
            yield f"the devices reach each other over {slowest.kind.name}{lanes} at the slowest"


def _devices(snapshot: Snapshot) -> Mapping[Uuid, Device]:
    found = (device for host in snapshot.hosts for pool in host.pools for device in pool.devices)
    return {device.uuid: device for device in found}
