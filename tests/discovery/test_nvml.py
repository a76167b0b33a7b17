"""The real reading code, pynvml unmodified, over a C library that answers as NVIDIA's documentation says."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from machines import NAMES, machine, made
from rigs.jvm import COMMAND
from rigs.nvml.rig import environment
from tritium_discovery import emulate
from tritium_discovery.errors import (
    DiscoveryError,
    DriverError,
    DriverMismatch,
    NoDevice,
    NoDriver,
    NoLibrary,
    NoPermission,
    UnseenDevice,
)
from tritium_discovery.health import troubles
from tritium_discovery.machine import Machine
from tritium_discovery.observation import Failed, MigMode, Observation, Process
from tritium_discovery.settings import Limits

pytestmark = pytest.mark.nvml

PROBE = Path(__file__).with_name("nvml_probe.py")


def ask(model: Machine, directory: Path) -> Any:
    """What the reading code says of a machine: an observation or the error it raised."""
    environ = environment(model, directory)
    done = subprocess.run(
        [sys.executable, str(PROBE), environ["TRITIUM_SYSFS"]],
        env=environ,
        check=True,
        capture_output=True,
        timeout=60,
    )
    return pickle.loads(done.stdout)  # noqa: S301 - from our own probe


def run(model: Machine, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command on a machine, as a user runs it."""
    return subprocess.run(
        [COMMAND, *arguments],
        env=environment(model, directory),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def observed(model: Machine, directory: Path) -> Observation:
    found = ask(model, directory)
    assert isinstance(found, Observation), found
    return found


MODELS = [
    *(machine(name) for name in NAMES if not machine(name).init),
    made("sixteen", cards=16, nvlinks=[[0, 1, 4], [2, 3, 2]]),
    made("ill", first={"ecc_errors": 3, "recovery": 1, "remapped": {"failed": True, "uncorrectable": 8}}),
    made("busy", first={"processes": list(range(100, 300)), "used_mib": 1000}),
    made("old", card={"product": "Tesla V100", "capability": "7.0", "retirement_pending": True}),
    made("unified", card={"memory_mib": -1}),
    made("vgpu", card={"vgpu": True, "product": "GRID A100-10C"}),
    made("refused", fail={"nvmlDeviceGetTemperature": 999}, first={"fail": {"nvmlDeviceGetName": 4}}),
    made("turned", cards=4, order=[2, 0, 3, 1]),
    made("pending", first={"mig_pending": True}),
    made("empty-mig", first={"mig": True}),
    made("unseen", unseen=["00000000:0F:00.0"]),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_the_emulated_probe_and_the_c_library_tell_the_same_of_a_machine(
    model: Machine, tmp_path: Path
) -> None:
    emulated = emulate.observe(model, topology=True)

    real = observed(model, tmp_path)

    assert real._replace(origin="emulated", machine=model.name) == emulated


@pytest.mark.parametrize(
    ("init", "error"),
    [
        (9, NoDriver),
        (12, NoLibrary),
        (18, DriverMismatch),
        (4, NoPermission),
        (17, NoPermission),
        (999, DriverError),
    ],
)
def test_each_cause_of_a_failed_start_is_an_error_of_its_own(
    init: int, error: type[DiscoveryError], tmp_path: Path
) -> None:
    model = made(init=init)

    found = ask(model, tmp_path)

    assert type(found) is error
    with pytest.raises(error, match=re.escape(str(found))):
        emulate.observe(model, topology=False)


@pytest.mark.parametrize(
    ("unseen", "error", "exit_code"),
    [([], NoDevice, 15), (["00000000:07:00.0", "00000000:0F:00.0"], UnseenDevice, 16)],
)
def test_a_driver_without_cards_is_told_apart_by_what_the_kernel_lists(
    unseen: list[str], error: type[DiscoveryError], exit_code: int, tmp_path: Path
) -> None:
    model = made(cards=0, unseen=unseen)

    found = ask(model, tmp_path)

    assert type(found) is error
    assert all(bus in str(found) for bus in unseen)
    for arguments in ((), ("list",), ("topo",)):
        done = run(model, tmp_path, *arguments)
        assert (done.returncode, done.stdout) == (exit_code, "")
        assert done.stderr.splitlines()[-1] == f"gpu-discover: {found}"
    with pytest.raises(error, match=re.escape(str(found))):
        emulate.observe(model, topology=True)


def test_a_card_that_only_the_kernel_lists_is_noted_beside_those_that_work(tmp_path: Path) -> None:
    said = run(made(unseen=["00000000:0F:00.0"]), tmp_path, "doctor").stdout

    assert "NVML does not list 00000000:0F:00.0: not this container's, or lost" in said


def test_a_card_that_lost_its_bus_id_is_not_taken_for_one_that_nvml_does_not_list(tmp_path: Path) -> None:
    found = observed(made(first={"fail": {"nvmlDeviceGetPciInfo": 999}}), tmp_path)

    assert found.unseen == ()


def test_a_count_that_cannot_be_read_is_an_error_of_the_driver(tmp_path: Path) -> None:
    found = ask(made(fail={"nvmlDeviceGetCount": 999}), tmp_path)

    assert type(found) is DriverError
    assert "nvmlDeviceGetCount" in str(found)
    assert "systemd" in str(found)


def test_one_lost_card_does_not_hide_the_others(tmp_path: Path) -> None:
    cards = observed(machine("lost-gpu"), tmp_path).cards

    assert [isinstance(card.uuid, Failed) for card in cards] == [False, False, True, False]


def test_a_card_lost_after_its_handle_was_had_is_found_out(tmp_path: Path) -> None:
    # NVML_ERROR_GPU_IS_LOST can come from any call: the handle alone proves nothing.
    card = observed(made(first={"lost_after": 4}), tmp_path).cards[0]

    assert isinstance(card.uuid, str)
    assert "does not answer" in troubles(card, Limits())[0]


@pytest.mark.parametrize(
    "missing",
    [
        ["nvmlDeviceGetComputeRunningProcesses_v3"],
        ["nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2"],
    ],
)
def test_processes_are_read_with_the_struct_that_an_older_driver_fills(
    missing: list[str], tmp_path: Path
) -> None:
    model = made(missing=missing, first={"processes": [101, 102, 103]})

    processes = observed(model, tmp_path).cards[0].processes

    assert processes == tuple(Process(pid=pid, used_mib=None) for pid in (101, 102, 103))


@pytest.mark.parametrize("driver", ["535.54.03", "535.86.10", "535.104.05", "550.90.07"])
def test_processes_are_read_with_the_longer_struct_of_some_drivers(driver: str, tmp_path: Path) -> None:
    model = made(driver=driver, first={"processes": [101, 102, 103]})

    processes = observed(model, tmp_path).cards[0].processes

    assert processes == tuple(Process(pid=pid, used_mib=None) for pid in (101, 102, 103))


def test_a_driver_without_the_newer_calls_is_no_fault_of_its_cards(tmp_path: Path) -> None:
    model = made(
        missing=[
            "nvmlDeviceGetFieldValues",
            "nvmlDeviceGetRemappedRows",
            "nvmlDeviceGetMigMode",
            "nvmlDeviceGetMemoryAffinity",
            "nvmlDeviceGetP2PStatus",
            "nvmlDeviceGetNvLinkRemoteDeviceType",
        ]
    )

    card = observed(model, tmp_path).cards[0]

    assert isinstance(card.recovery, Failed)
    assert card.recovery.code == 13
    assert troubles(card, Limits()) == ()


def test_a_mig_ceiling_with_holes_lists_the_instances_that_are_there(tmp_path: Path) -> None:
    card = observed(machine("mig-1g"), tmp_path).cards[0]

    assert card.mig == MigMode(current=True, pending=True)
    assert [str(part.uuid)[-1] for part in card.instances] == ["0", "1", "3", "4", "6"]
    assert isinstance(card.memory, Failed)
    assert troubles(card, Limits()) == ()


def test_cards_dealt_anew_between_two_calls_are_each_seen_once(tmp_path: Path) -> None:
    # nvmlDeviceGetHandleByIndex: "the order ... has no guarantees of consistency".
    cards = observed(made(cards=4, reorder=True), tmp_path).cards

    assert len({card.uuid for card in cards}) == 4


def test_a_card_that_leaves_after_it_was_counted_is_named_and_not_hidden(tmp_path: Path) -> None:
    cards = observed(made(cards=3, vanish_after=0), tmp_path).cards

    assert [isinstance(card.uuid, Failed) for card in cards] == [False, False, True]
    assert troubles(cards[2], Limits()) != ()
