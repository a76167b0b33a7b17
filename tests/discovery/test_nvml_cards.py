"""Cards as drivers really have them, read through pynvml: lost, hidden, busy, cut, old, or telling little."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from machines import machine, made
from rigs.jvm import COMMAND
from rigs.nvml.ask import ask, observed, run
from rigs.nvml.rig import environment
from tritium_discovery import emulate
from tritium_discovery.errors import NoPermission
from tritium_discovery.health import troubles
from tritium_discovery.inventory import seen
from tritium_discovery.observation import Failed, Memory, MigMode, Process
from tritium_discovery.settings import Limits, Settings

pytestmark = pytest.mark.nvml


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
