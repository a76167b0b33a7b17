"""Decides what would run where: a pipeline and the devices of this machine in, placements or reasons out.

It asks the same assigner that gangs and inference ask when they run, and chooses no device itself.
What it decides is the shape of the local session: how many Workers share the devices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from tritium.assign import Assigned, Decision, Host, Index, Pool, Request, Snapshot, Waiting, assign
from tritium.assign.reasons import counted, lacks
from tritium.errors import Occupied, Unplaceable
from tritium.pipeline.results import StageName
from tritium.pipeline.spec import Pipeline
from tritium_discovery import Device, Inventory, Link, LinkKind, Uuid

__all__ = ["POLICY", "Plan", "StagePlan", "Survey", "alone", "plan", "require", "why"]

POLICY = "packed"
"""The gang's and the inference job's default."""

_WORKERS = (2, 1)
"""Two Workers show that devices are told apart between them; one has room for larger members."""
_LEAST_CORES = 2
_PATHS: Mapping[LinkKind, str] = {
    LinkKind.SYS: "the interconnect between NUMA nodes (SYS)",
    LinkKind.NODE: "the interconnect between PCIe host bridges (NODE)",
    LinkKind.PHB: "a PCIe host bridge (PHB)",
    LinkKind.PXB: "several PCIe switches (PXB)",
    LinkKind.PIX: "one PCIe switch (PIX)",
    LinkKind.SAME: "their common card (SAME)",
    LinkKind.NVLINK: "NVLink",
}
"""In the words of ``nvidia-smi topo -m``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The devices of this machine, as they are before a pipeline starts."""

    inventory: Inventory
    taken: Mapping[Uuid, str]
    """Devices in use or promised to others, and whose they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """What one stage asks for, and what the assigner answered."""

    stage: StageName
    request: Request
    snapshot: Snapshot
    decision: Decision

    @property
    def asks(self) -> str:
        """The request in words."""
        request = self.request
        if request.kind == "replicas":
            device = f"a share of {request.share_mib} MiB" if request.share_mib else "1 device"
            asked = f"{counted(request.members, 'replica')} of the model with {device} each"
        elif request.devices_each == 0:
            asked = f"{counted(request.members, 'rank')} on the CPU"
        else:
            asked = f"{counted(request.members, 'rank')} with {counted(request.devices_each, 'device')} each"
        return asked + (f" of at least {request.min_memory_mib} MiB" if request.min_memory_mib else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would run where."""

    name: str
    survey: Survey
    workers: int
    """Workers of the local session, with one executor each."""
    cores: int
    """Cores of each."""
    stages: tuple[StagePlan, ...]


def plan(pipeline: Pipeline, survey: Survey) -> Plan:
    """Place the stages that use devices. Each may use all: the one before has given its own back."""
    plans = [_with_workers(pipeline, survey, workers) for workers in _WORKERS]
    return next((each for each in plans if all(_fits(stage) for stage in each.stages)), plans[-1])


def require(planned: Plan) -> None:
    """Let a plan pass in which every stage has its devices.

    Raises:
        Occupied: a stage has not, because others hold what is missing.
        Unplaceable: a stage can never have them here; both with the assigner's reasons.
    """
    for stage in planned.stages:
        if not isinstance(stage.decision, Assigned):
            waits = isinstance(stage.decision, Waiting)
            refusal, now = (Occupied, " now") if waits else (Unplaceable, "")
            what = f"pipeline {planned.name}: spec.{stage.stage}: {stage.asks}"
            raise refusal(
                f"{what} cannot be had on this machine{now}:",
                (_stock(planned.survey), *_reasons(stage.decision)),
            )


def why(planned: Plan, stage: StagePlan) -> Iterator[str]:
    """Yield what spoke for the chosen devices and against the others, or what is in the way."""
    if not isinstance(stage.decision, Assigned):
        yield from _reasons(stage.decision)
        return
    chosen = [uuid for member in stage.decision.placement.members for uuid in member.devices]
    if not chosen:
        yield "ranks that compute on the CPU need no device"
        return
    against = lacks(Index.of(alone(planned.survey)), stage.request)
    fit = len(planned.survey.inventory.devices) - len(against)
    yield f"policy {POLICY}: {len(chosen)} of {counted(fit, 'device')} that qualify"
    if stage.request.kind == "gang":
        yield from _joined(planned.survey.inventory.links, chosen)
    yield from (f"not {uuid}: {sentence}" for uuid, sentence in against.items())


def _with_workers(pipeline: Pipeline, survey: Survey, workers: int) -> Plan:
    train, infer = pipeline.train, pipeline.infer
    cores = max(_LEAST_CORES, -(-train.ranks // workers))
    gang = Request(
        members=train.ranks,
        devices_each=train.gpu.per_rank,
        min_memory_mib=train.gpu.min_memory_mib,
        priority=train.gpu.priority,
    )
    stages = [_placed("train", gang, _snapshot(survey, workers, members=train.ranks))]
    if infer is not None:
        # Spark runs as many inference tasks at once as an executor has cores and devices for.
        tasks = max(1, workers * min(cores, len(_usable(survey)) // workers))
        replicas = Request(
            members=tasks,
            kind="replicas",
            share_mib=infer.gpu.share_mib or 0,
            min_memory_mib=infer.gpu.min_memory_mib,
            priority=infer.gpu.priority,
        )
        one_share = _with_room_for_one(survey, replicas.share_mib)
        stages.append(_placed("infer", replicas, _snapshot(one_share, workers, members=tasks)))
    return Plan(name=pipeline.name, survey=survey, workers=workers, cores=cores, stages=tuple(stages))


def _with_room_for_one(survey: Survey, share_mib: int) -> Survey:
    """Leave no room for a second share on a device: a model is loaded on it once, however many would fit."""
    if not share_mib:
        return survey
    devices = tuple(
        replace(device, free_mib=min(device.free_mib, share_mib)) for device in survey.inventory.devices
    )
    return replace(survey, inventory=replace(survey.inventory, devices=devices))


def _placed(stage: StageName, request: Request, snapshot: Snapshot) -> StagePlan:
    return StagePlan(
        stage=stage, request=request, snapshot=snapshot, decision=assign(snapshot, request, POLICY)
    )


def _snapshot(survey: Survey, workers: int, *, members: int) -> Snapshot:
    return alone(survey) if workers == 1 else _shared(survey, workers, members=members)


def alone(survey: Survey) -> Snapshot:
    """Return this machine as one Worker has it: all devices, and who holds which."""
    inventory = survey.inventory
    pool = Pool(name="executor 0", devices=inventory.devices, held=survey.taken)
    return Snapshot(
        hosts=(Host(id=inventory.host, pools=(pool,), links=inventory.links, rack=inventory.rack),)
    )


def _shared(survey: Survey, workers: int, *, members: int) -> Snapshot:
    """Share the devices out as gpu-discover does among Workers, and the tasks as Spark does: in turn."""
    usable = _usable(survey)
    share = len(usable) // workers
    pools = tuple(
        Pool(
            name=f"executor {number}",
            devices=usable[number * share : (number + 1) * share],
            seats=members // workers + (number < members % workers),
        )
        for number in range(workers)
    )
    inventory = survey.inventory
    return Snapshot(hosts=(Host(id=inventory.host, pools=pools, links=inventory.links, rack=inventory.rack),))


def _usable(survey: Survey) -> tuple[Device, ...]:
    devices = survey.inventory.devices
    return tuple(device for device in devices if device.healthy and device.uuid not in survey.taken)


def _stock(survey: Survey) -> str:
    """Say what there is.

    >>> from tritium_discovery import HostId
    >>> _stock(Survey(inventory=Inventory(host=HostId("a"), hostname="a", origin="nvml"), taken={}))
    'it has 0 devices, of which 0 are healthy and free'
    """
    there = counted(len(survey.inventory.devices), "device")
    return f"it has {there}, of which {len(_usable(survey))} are healthy and free"


def _fits(stage: StagePlan) -> bool:
    return isinstance(stage.decision, Assigned)


def _reasons(decision: Decision) -> Sequence[str]:
    if isinstance(decision, Assigned):
        return ()
    return [str(reason) for reason in decision.reasons]


def _joined(links: Mapping[tuple[Uuid, Uuid], Link], chosen: Sequence[Uuid]) -> Iterator[str]:
    """Say how fast the chosen devices reach each other: as fast as the slowest pair."""
    pairs = [links.get(pair, Link(kind=LinkKind.SYS)) for pair in combinations(sorted(chosen), 2)]
    if pairs:
        slowest = min(pairs)
        lanes = f"{slowest.lanes} NVLinks" if slowest.lanes else _PATHS[slowest.kind]
        yield f"they reach each other over {lanes}"
