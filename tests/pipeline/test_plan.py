"""A plan is what the assigner says about this machine's devices, in words and as data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from machines import written
from pipeline.documents import changed
from tritium.assign import Assigned
from tritium.errors import Occupied, Unplaceable
from tritium.pipeline.look import look
from tritium.pipeline.parse import parse
from tritium.pipeline.plan import Plan, Survey, plan, require
from tritium.pipeline.plan_view import as_data, as_text
from tritium.pipeline.spec import Gpu, Pipeline
from tritium_discovery import NoDriver, NoLibrary, Settings, holds, state_directory

BASE = parse(changed({"spec.infer.gpu": ...}), folder=Path("/project"), where="")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def survey(machine: str, state: Path, pipeline: Pipeline = BASE) -> Survey:
    return look(pipeline, environ={"TRITIUM_MACHINE": machine, "TRITIUM_DIR": str(state)})


def gang(ranks: int, *, gpus: int = 1, memory_mib: int = 0) -> Pipeline:
    gpu = Gpu(per_rank=gpus, min_memory_mib=memory_mib)
    return replace(BASE, train=replace(BASE.train, ranks=ranks, gpu=gpu))


def sharing(share_mib: int, *, ranks: int = 1, memory_mib: int = 0) -> Pipeline:
    """A pipeline whose model shares its devices with others."""
    assert BASE.infer is not None
    gpu = Gpu(share_mib=share_mib, min_memory_mib=memory_mib)
    return replace(gang(ranks), infer=replace(BASE.infer, gpu=gpu))


def devices_of(planned: Plan, stage: int) -> list[str]:
    decision = planned.stages[stage].decision
    assert isinstance(decision, Assigned)
    return [uuid for member in decision.placement.members for uuid in member.devices]


def test_each_stage_may_use_every_device_for_the_one_before_has_given_its_own_back(state: Path) -> None:
    planned = plan(gang(8), survey("dgx-a100", state))

    assert len(set(devices_of(planned, 0))) == 8
    assert len(set(devices_of(planned, 1))) == 8
    assert planned.cores == 4


@pytest.mark.parametrize(
    ("machine", "ranks", "replicas"),
    [("dgx-a100", 8, 8), ("dgx-a100", 1, 4), ("two-t4", 1, 2), ("one-gpu", 1, 1)],
)
def test_a_model_that_shares_is_placed_once_on_a_device_however_many_shares_would_fit(
    state: Path, machine: str, ranks: int, replicas: int
) -> None:
    planned = plan(sharing(1_000, ranks=ranks, memory_mib=4_000), survey(machine, state))

    placed = devices_of(planned, 1)
    assert len(placed) == len(set(placed)) == replicas
    assert planned.stages[1].request.members == replicas
    assert " of the model with a share of 1000 MiB each of at least 4000 MiB" in as_text(planned)


def test_a_share_that_no_device_can_hold_is_refused_with_the_numbers(state: Path) -> None:
    fits, never = (plan(sharing(mib), survey("one-gpu", state)) for mib in (16_376, 16_377))

    require(fits)
    with pytest.raises(Unplaceable, match=r"16376 MiB, 16377 needed") as refused:
        require(never)
    assert str(refused.value).startswith(
        "pipeline digits: spec.infer: 1 replica of the model with a share of 16377 MiB each cannot be had"
    )


def test_what_somebody_unknown_uses_is_no_room_for_a_share(state: Path, tmp_path: Path) -> None:
    machine = written(tmp_path, cards=1, card={"memory_mib": 16_384, "used_mib": 14_000})

    require(plan(sharing(2_384), survey(machine, state)))
    with pytest.raises(Unplaceable, match=r"2384 MiB left, 2385 needed"):
        require(plan(sharing(2_385), survey(machine, state)))


def test_two_workers_share_the_devices_unless_a_rank_needs_more_than_one_of_them_has(state: Path) -> None:
    assert plan(gang(2, gpus=4), survey("dgx-a100", state)).workers == 2
    assert plan(gang(1, gpus=8), survey("dgx-a100", state)).workers == 1
    assert plan(gang(1), survey("one-gpu", state)).workers == 1


def test_the_plan_of_a_gang_is_text_for_people(state: Path) -> None:
    text = as_text(plan(gang(2, memory_mib=8192), survey("dgx-a100", state)))

    assert text.splitlines()[:8] == [
        "pipeline digits: 2 Workers of 2 cores, 8 devices emulated (dgx-a100)",
        "",
        "train: 2 ranks with 1 device each of at least 8192 MiB",
        "  rank  where       address  device                                    product",
        "     0  executor 0        0  GPU-fe1e7ec4-7472-4974-8975-000000000000  NVIDIA A100-SXM4-40GB",
        "     1  executor 1        4  GPU-fe1e7ec4-7472-4974-8975-000000000004  NVIDIA A100-SXM4-40GB",
        "  - policy packed: 2 of 8 devices that qualify",
        "  - they reach each other over 12 NVLinks",
    ]


def test_the_plan_is_data_for_programs(state: Path) -> None:
    data = as_data(plan(gang(2), survey("two-t4", state)))

    assert data["emulatedMachine"] == "two-t4"
    assert [stage["stage"] for stage in data["stages"]] == ["train", "infer"]
    ranks = data["stages"][0]["ranks"]
    assert [(rank["rank"], rank["where"], rank["devices"][0]["address"]) for rank in ranks] == [
        (0, "executor 0", 0),
        (1, "executor 1", 1),
    ]


def test_devices_that_nobody_may_use_are_named_with_the_reason(state: Path) -> None:
    text = as_text(plan(gang(2), survey("lost-gpu", state)))

    assert "the card does not answer" in text
    assert "policy packed: 2 of 3 devices that qualify" in text


def test_a_device_that_somebody_holds_is_refused_and_its_holder_named(state: Path) -> None:
    inventory = survey("one-gpu", state).inventory
    directory = state_directory(Settings.from_env({"TRITIUM_DIR": str(state)}))
    with holds.take([inventory.devices[0].uuid], what="another job", directory=directory):
        planned = plan(gang(1), survey("one-gpu", state))

    with pytest.raises(Occupied, match=r"GPU-932e2366\S+: held by another job \(pid \d+\)") as refused:
        require(planned)
    assert refused.value.exit_code == 45
    assert str(refused.value).startswith(
        "pipeline digits: spec.train: 1 rank with 1 device each cannot be had on this machine now:"
    )
    assert "held by another job" in as_text(planned)


def test_every_device_that_does_not_qualify_is_named_with_what_it_lacks(state: Path, tmp_path: Path) -> None:
    machine = written(tmp_path, cards=4, card={"memory_mib": 16384}, first={"memory_mib": 4096})
    inventory = survey(machine, state).inventory
    directory = state_directory(Settings.from_env({"TRITIUM_DIR": str(state)}))
    pipeline = replace(gang(1, memory_mib=8192), infer=None)
    with holds.take([inventory.devices[1].uuid], what="another job", directory=directory):
        planned = plan(pipeline, survey(machine, state))

    text = as_text(planned)
    assert "policy packed: 1 of 2 devices that qualify" in text
    assert f"not {inventory.devices[0].uuid}: 4096 MiB, 8192 needed" in text
    assert f"not {inventory.devices[1].uuid}: held by another job (pid " in text


def test_more_devices_than_there_are_is_refused_with_the_assigners_reasons(state: Path) -> None:
    planned = plan(gang(9), survey("dgx-a100", state))

    with pytest.raises(Unplaceable) as refused:
        require(planned)

    assert refused.value.exit_code == 35
    first, *reasons = str(refused.value).splitlines()
    assert first == "pipeline digits: spec.train: 9 ranks with 1 device each cannot be had on this machine:"
    assert reasons[0] == "  - it has 8 devices, of which 8 are healthy and free"
    assert any("9 members" in reason and "8" in reason for reason in reasons)


def test_a_pipeline_on_the_cpu_needs_no_driver(state: Path) -> None:
    pipeline = replace(gang(2, gpus=0), infer=None)

    planned = plan(pipeline, survey("no-driver", state, pipeline))

    require(planned)
    assert "2 ranks on the CPU" in as_text(planned)
    assert "ranks that compute on the CPU need no device" in as_text(planned)


def test_a_machine_whose_driver_is_not_loaded_says_so(state: Path) -> None:
    with pytest.raises((NoDriver, NoLibrary)):
        survey("no-driver", state)
