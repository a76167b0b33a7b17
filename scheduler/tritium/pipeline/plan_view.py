"""Shows a plan: as text for people, as data for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tritium.assign import Assigned
from tritium.pipeline.plan import POLICY, Plan, StagePlan, why
from tritium.pipeline.results import StageName
from tritium.pipeline.table import table

__all__ = ["as_data", "as_text", "headline"]

_MEMBER: Mapping[StageName, str] = {"train": "rank", "infer": "replica"}


def as_text(planned: Plan) -> str:
    """Return a plan for people."""
    lines = [f"pipeline {planned.name}: {headline(planned)}"]
    for stage in planned.stages:
        head = (_MEMBER[stage.stage], "where", "address", "device", "product")
        lines += ["", f"{stage.stage}: {stage.asks}"]
        if isinstance(stage.decision, Assigned):
            lines += table(head, _rows(planned, stage), indent="  ")
        lines += [f"  - {sentence}" for sentence in why(planned, stage)]
    return "\n".join(lines)


def headline(planned: Plan) -> str:
    """Return the shape of the local session in a phrase."""
    inventory = planned.survey.inventory
    workers = "2 Workers" if planned.workers > 1 else "1 Worker"
    emulated = f" emulated ({inventory.machine})" if inventory.machine else ""
    return f"{workers} of {planned.cores} cores, {len(inventory.devices)} devices{emulated}"


def as_data(planned: Plan) -> dict[str, Any]:
    """Return a plan for programs."""
    inventory = planned.survey.inventory
    return {
        "pipeline": planned.name,
        "host": inventory.hostname,
        "emulatedMachine": inventory.machine,
        "workers": planned.workers,
        "cores": planned.cores,
        "policy": POLICY,
        "stages": [
            {
                "stage": stage.stage,
                "asks": stage.asks,
                "why": list(why(planned, stage)),
                _MEMBER[stage.stage] + "s": _members(planned, stage),
            }
            for stage in planned.stages
        ],
    }


def _rows(planned: Plan, stage: StagePlan) -> Iterator[tuple[str, ...]]:
    for member in _members(planned, stage):
        for device in member["devices"] or [{"address": "-", "uuid": "CPU", "product": "-"}]:
            yield (
                str(member["rank"]),
                member["where"],
                str(device["address"]),
                device["uuid"],
                device["product"],
            )


def _members(planned: Plan, stage: StagePlan) -> list[dict[str, Any]]:
    if not isinstance(stage.decision, Assigned):
        return []
    devices = {device.uuid: device for device in planned.survey.inventory.devices}
    return [
        {
            "rank": member.rank,
            "localRank": member.local_rank,
            "groupRank": member.group_rank,
            "host": member.host,
            "where": member.pool,
            "devices": [
                {"uuid": uuid, "address": devices[uuid].address, "product": devices[uuid].product}
                for uuid in member.devices
            ],
        }
        for member in stage.decision.placement.members
    ]
