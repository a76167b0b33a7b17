"""The real reading code, pynvml unmodified, over a C library that answers as NVIDIA's documentation says."""

from __future__ import annotations

import json
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
from tritium_discovery.inventory import seen
from tritium_discovery.machine import Machine
from tritium_discovery.observation import Failed, Memory, MigMode, Observation, Process
from tritium_discovery.settings import Limits, Settings

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
    made(
        "busy-instance",
        first={"mig": True, "instances": [{"slot": 1, "processes": [7]}, {"slot": 4}], "processes": [8]},
    ),
    made(
        "private-processes",
        first={
            "mig": True,
            "instances": [{"slot": 0, "processes": [7]}],
            "fail": {"nvmlDeviceGetComputeRunningProcesses": 4},
        },
    ),
    made("lost-midway", cards=3, first={"mig": True, "instances": [{"slot": 0}], "lost_after": 14}),
    made("cgroup", cards=4, first={"fail": {"nvmlDeviceGetHandleByIndex": 4}}),
    made("gaps", nvlinks=[[0, 1, 3]], card={"nvlink_gaps": [0, 2, 3]}),
    made("hidden-switch", card={"nvswitch": 4}, fail={"nvmlDeviceGetNvLinkRemotePciInfo": 3}),
    made(
        "nameless-ends",
        cards=3,
        nvlinks=[[0, 1, 2]],
        first={"nvswitch": 2},
        missing=["nvmlDeviceGetNvLinkRemoteDeviceType"],
    ),
    made(
        "no-links-told", nvlinks=[[0, 1, 2]], missing=["nvmlDeviceGetNvLinkState", "nvmlDeviceGetP2PStatus"]
    ),
    made(
        "kernel-knows",
        card={"numa": 1, "cpus": "0-3"},
        fail={"nvmlDeviceGetCpuAffinity": 3, "nvmlDeviceGetMemoryAffinity": 3},
    ),
    made("cold", card={"temperature_c": 41}, missing=["nvmlDeviceGetTemperature"]),
    made("asleep", card={"persistence": False}),
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


def test_a_card_that_this_process_may_not_open_shifts_no_address(tmp_path: Path) -> None:
    # nvmlDeviceGetCount: "returns count of all devices in the system even if nvmlDeviceGetHandleByIndex
    # returns NVML_ERROR_NO_PERMISSION for such device", as under the device cgroups of YARN; CUDA skips it.
    model = made(cards=3, first={"fail": {"nvmlDeviceGetHandleByIndex": 4}})

    listed = json.loads(run(model, tmp_path, "list", "--output", "json").stdout)["devices"]
    script = run(model, tmp_path)

    assert [(one["address"], one["uuid"][-1]) for one in listed] == [(0, "1"), (1, "2")]
    assert json.loads(script.stdout)["addresses"] == ["0", "1"]
    assert "1 more GPU(s) of this host may not be opened from here" in script.stderr
    assert "1 more GPU(s) of this host may not be opened" in run(model, tmp_path, "doctor").stdout


def test_a_host_of_which_no_card_may_be_opened_is_a_matter_of_permission(tmp_path: Path) -> None:
    model = made(cards=2, fail={"nvmlDeviceGetHandleByIndex": 4})

    found = ask(model, tmp_path)

    assert type(found) is NoPermission
    assert "NVML counts 2 GPU(s) and this process may open none of them" in str(found)
    with pytest.raises(NoPermission, match=re.escape(str(found))):
        emulate.observe(model, topology=False)


def test_a_busy_instance_does_not_make_its_siblings_busy(tmp_path: Path) -> None:
    model = made(
        cards=1,
        first={"mig": True, "instances": [{"slot": 0, "processes": [4711]}, {"slot": 1}, {"slot": 2}]},
    )

    done = run(model, tmp_path)

    assert json.loads(done.stdout)["addresses"] == ["1", "2"]


def test_an_instance_whose_processes_nobody_tells_is_as_busy_as_its_card(tmp_path: Path) -> None:
    parts = [{"slot": 0}, {"slot": 1}]
    found = observed(made(cards=1, first={"mig": True, "instances": parts, "processes": [4711]}), tmp_path)
    untold = Failed(call="nvmlDeviceGetComputeRunningProcesses", code=3, text="Not Supported")
    card = found.cards[0]
    silent = tuple(part._replace(processes=untold) for part in card.instances)

    devices = seen(found._replace(cards=(card._replace(instances=silent),)), Settings(), host=Memory(1, 1))

    assert [device.processes for device in devices] == [(4711,), (4711,)]


def test_a_name_that_is_no_text_hides_no_other_card(tmp_path: Path) -> None:
    # The binding decodes what it is given; a dying card may give anything.
    cards = observed(made(cards=2, first={"product": "NVIDIA \udcff\udcfe"}), tmp_path).cards

    assert isinstance(cards[0].product, Failed)
    assert cards[0].product.code == 999
    assert cards[1].product == "NVIDIA A100-SXM4-40GB"


def test_a_library_that_cannot_be_loaded_is_not_called_missing(tmp_path: Path) -> None:
    environ = dict(environment(made(init=12), tmp_path))
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"not a library")

    done = subprocess.run([COMMAND], env=environ, check=False, capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stdout) == (10, "")
    assert "libnvidia-ml.so.1 cannot be loaded (" in done.stderr
    assert "file too short" in done.stderr or "invalid ELF header" in done.stderr


def test_windows_subsystem_for_linux_is_a_host_without_bus_processes_or_affinity(tmp_path: Path) -> None:
    # There the kernel lists no NVIDIA device, and NVML supports neither processes nor affinity.
    unsupported = [
        "ComputeRunningProcesses",
        "CpuAffinity",
        "MemoryAffinity",
        "P2PStatus",
        "TopologyCommonAncestor",
    ]
    model = made(cards=1, fail={f"nvmlDeviceGet{call}": 3 for call in unsupported}, card={"numa": 0})
    environ = {**environment(model, tmp_path), "TRITIUM_SYSFS": str(tmp_path / "none")}

    done = subprocess.run(
        [COMMAND, "list", "--output", "json"], env=environ, check=True, capture_output=True, timeout=60
    )

    (device,) = json.loads(done.stdout)["devices"]
    assert (device["numa_node"], device["cpus"], device["troubles"]) == (None, "", [])


def test_cards_without_persistence_mode_are_told_what_each_run_pays(tmp_path: Path) -> None:
    model = made(cards=2, first={"persistence": False})

    assert "persistence       off on 1 of 2 cards" in run(model, tmp_path, "doctor").stdout
    assert "off on" not in run(made(cards=2), tmp_path, "doctor").stdout
