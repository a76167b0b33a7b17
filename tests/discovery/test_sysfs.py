"""The kernel's list of devices, on a fake tree: every vendor's, without any library."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigs.jvm import COMMAND, clean_environment
from tritium_discovery import NoDevice, Settings
from tritium_discovery.doctor import examine
from tritium_discovery.inventory import seen
from tritium_discovery.observation import Memory
from tritium_discovery.probe import EmulatedProbe, NvmlProbe, SysfsProbe, probe_of
from tritium_discovery.sysfs import SYSFS, accelerators, bus_id


def device(root: Path, name: str, **files: str) -> None:
    folder = root / "bus/pci/devices" / name
    folder.mkdir(parents=True)
    for file, text in files.items():
        (folder / file).write_text(f"{text}\n", encoding="ascii")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An MI210 and a Gaudi on two NUMA nodes, an A100 on none, and a network card."""
    amd = {
        "class": "0x038000",
        "vendor": "0x1002",
        "device": "0x740f",
        "numa_node": "1",
        "local_cpulist": "16-31",
    }
    gaudi = {
        "class": "0x120000",
        "vendor": "0x1da3",
        "device": "0x1020",
        "numa_node": "0",
        "local_cpulist": "0-15",
    }
    nvidia = {
        "class": "0x030200",
        "vendor": "0x10de",
        "device": "0x20b0",
        "numa_node": "-1",
        "local_cpulist": "0-31",
    }
    device(tmp_path, "0000:c1:00.0", **amd)
    device(tmp_path, "0000:07:00.0", **nvidia)
    device(tmp_path, "0001:3a:00.0", **gaudi)
    device(tmp_path, "0000:01:00.0", **{"class": "0x020000", "vendor": "0x8086", "device": "0x1563"})
    return tmp_path


def test_accelerators_of_all_vendors_are_listed_in_bus_order(tree: Path) -> None:
    found = list(accelerators(tree))

    assert [(one.bus_id, one.vendor, one.numa_node, one.cpus) for one in found] == [
        ("00000000:07:00.0", 0x10DE, None, "0-31"),
        ("00000000:C1:00.0", 0x1002, 1, "16-31"),
        ("00000001:3A:00.0", 0x1DA3, 0, "0-15"),
    ]


def test_what_only_the_kernel_knows_is_listed_and_never_given_out(tree: Path) -> None:
    observation = SysfsProbe(tree).observe(topology=True, known=None)

    devices = seen(observation, Settings(), host=Memory(1, 1))

    assert [device.product for device in devices] == ["10de:20b0", "1002:740f", "1da3:1020"]
    assert {device.troubles for device in devices} == {
        ("its memory cannot be read: sysfs: only the kernel was asked",)
    }


def test_a_bus_without_accelerators_is_no_device(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "none"):
        with pytest.raises(NoDevice):
            SysfsProbe(root).observe(topology=False, known=None)


def test_a_device_whose_files_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    device(tmp_path, "0000:07:00.0")
    device(tmp_path, "0000:08:00.0", **{"class": "0x030200"})

    assert [(one.bus_id, one.vendor, one.numa_node) for one in accelerators(tmp_path)] == [
        ("00000000:08:00.0", -1, None)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0000:07:00.0", "00000000:07:00.0"),
        ("00000000:07:00.0", "00000000:07:00.0"),
        ("07:00.0", "00000000:07:00.0"),
        ("0001:ff:1f.7", "00000001:FF:1F.7"),
        ("x:07:00.0", "x:07:00.0"),
        (":07:00.0", ":07:00.0"),
    ],
)
def test_pci_addresses_have_one_spelling(text: str, expected: str) -> None:
    assert bus_id(text) == expected


@given(st.text())
def test_no_text_makes_a_pci_address_fail_or_change_twice(text: str) -> None:
    assert bus_id(bus_id(text)) == bus_id(text)


def test_the_commands_list_what_the_kernel_lists_and_the_script_gives_none_of_it(tree: Path) -> None:
    environ = {"TRITIUM_PROBE": "sysfs", "TRITIUM_SYSFS": str(tree), "TRITIUM_DIR": str(tree / "state")}
    listed = subprocess.run(
        [COMMAND, "list", "--output", "json"],
        env=clean_environment(**environ),
        check=True,
        capture_output=True,
    )
    asked = subprocess.run(
        [COMMAND], env=clean_environment(**environ), check=False, capture_output=True, text=True
    )

    assert [one["pci_bus_id"] for one in json.loads(listed.stdout)["devices"]] == [
        "00000000:07:00.0",
        "00000000:C1:00.0",
        "00000001:3A:00.0",
    ]
    assert (asked.returncode, asked.stdout) == (17, "")
    assert "only the kernel was asked" in asked.stderr


def test_doctor_names_other_vendors_devices_whether_the_driver_was_asked_or_not(tree: Path) -> None:
    state = str(tree / "state")
    for probe in ("sysfs", "nvml"):
        environ = {"TRITIUM_PROBE": probe, "TRITIUM_SYSFS": str(tree), "TRITIUM_DIR": state}

        said = [(check.state, check.sentence) for check in examine(environ, tree)]

        assert ("note", "00000000:C1:00.0 is of vendor 1002, which is only listed so far") in said
        assert ("note", "00000001:3A:00.0 is of vendor 1da3, which is only listed so far") in said
        assert not any("00000000:07:00.0 is of vendor" in sentence for _, sentence in said)


def test_doctor_says_that_the_driver_was_not_asked(tree: Path) -> None:
    environ = {"TRITIUM_PROBE": "sysfs", "TRITIUM_SYSFS": str(tree), "TRITIUM_DIR": str(tree / "state")}

    said = {check.subject: check for check in examine(environ, tree)}

    assert said["driver"].state == "note"
    assert said["driver"].sentence.startswith("not asked (TRITIUM_PROBE=sysfs)")


def test_doctor_says_nothing_of_this_hosts_devices_on_an_emulated_machine(tree: Path) -> None:
    environ = {"TRITIUM_MACHINE": "two-t4", "TRITIUM_SYSFS": str(tree), "TRITIUM_DIR": str(tree / "state")}

    assert not any(check.subject == "PCI bus" for check in examine(environ, tree))


def test_the_settings_choose_the_probe() -> None:
    assert probe_of(machine=None, probe="nvml", sysfs=SYSFS) == NvmlProbe(SYSFS)
    assert probe_of(machine="two-t4", probe="sysfs", sysfs=SYSFS) == EmulatedProbe("two-t4")
    assert probe_of(machine="", probe="sysfs", sysfs=SYSFS) == SysfsProbe(SYSFS)
