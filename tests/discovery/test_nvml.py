"""The real reading code, pynvml unmodified, over a C library that answers as NVIDIA's documentation says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from machines import NAMES, machine, made
from rigs.nvml.ask import ask, observed, run
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
from tritium_discovery.machine import Machine

pytestmark = pytest.mark.nvml

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
    # What NVIDIA's libraries of these drivers do not export of all that ours does: Debian's packages
    # libnvidia-tesla-470-ml1 and libnvidia-ml1, by nm -D.
    made("driver-535", driver="535.261.03", missing=["nvmlDeviceGetTemperatureV"]),
    made(
        "driver-470",
        driver="470.256.02",
        missing=[
            "nvmlDeviceGetComputeRunningProcesses_v3",
            "nvmlDeviceGetGraphicsRunningProcesses_v3",
            "nvmlDeviceGetMemoryInfo_v2",
            "nvmlDeviceGetTemperatureV",
        ],
    ),
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
