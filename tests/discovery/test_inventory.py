"""From readings to devices: addresses, MIG instances, visible devices, and who is on which host."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from machines import made, settings, written
from tritium_discovery import BadMachine, Device, Inventory, NoDevice, Settings, Undecidable, discover
from tritium_discovery.emulate import observe
from tritium_discovery.inventory import Seen, seen
from tritium_discovery.observation import Memory


def inventory(directory: Path, name: str, **environ: str) -> Inventory:
    return discover(settings(directory, TRITIUM_MACHINE=name, **environ))


def of(**rest: Any) -> tuple[Seen, ...]:
    """The devices of a machine put together for a test."""
    return seen(observe(made(**rest), topology=True), Settings(), host=Memory(128_000, 64_000))


def test_addresses_are_the_positions_of_all_that_is_visible(tmp_path: Path) -> None:
    devices = inventory(tmp_path, "dgx-16").devices

    assert [device.address for device in devices] == list(range(16))


def test_a_lost_card_keeps_its_place_so_that_the_others_keep_their_addresses(tmp_path: Path) -> None:
    devices = inventory(tmp_path, "lost-gpu").devices

    assert [(device.address, device.healthy) for device in devices] == [
        (0, True),
        (1, True),
        (2, False),
        (3, True),
    ]
    assert devices[3].pci_bus_id == "00000000:CA:00.0"


def test_addresses_follow_the_pci_bus_whatever_order_nvml_lists() -> None:
    turned = of(cards=4, order=[2, 0, 3, 1])

    assert turned == of(cards=4)


def test_mig_instances_are_devices_of_their_own(tmp_path: Path) -> None:
    *parts, whole = inventory(tmp_path, "mig-1g").devices

    assert [part.mig_profile for part in parts] == ["1g.5gb"] * 5
    assert {part.parent for part in parts} == {"GPU-1265415b-7472-4974-8975-000000000000"}
    assert all(part.memory_mib == 4864 and part.healthy for part in parts)
    assert whole.parent is None


def test_the_troubles_of_a_card_are_those_of_its_instances() -> None:
    devices = of(first={"mig": True, "instances": [{"slot": 0}, {"slot": 1}], "ecc_errors": 2})

    assert [not device.troubles for device in devices] == [False, False, True]


def test_a_part_with_unified_memory_has_the_memory_of_its_host() -> None:
    (device,) = of(cards=1, card={"memory_mib": -1})

    assert (device.memory_mib, device.free_mib) == (128_000, 64_000)


def test_visible_devices_are_numbered_as_the_process_sees_them(tmp_path: Path) -> None:
    all_of_them = inventory(tmp_path, "dgx-a100").devices

    seen = inventory(tmp_path, "dgx-a100", CUDA_VISIBLE_DEVICES="6,2").devices

    assert [(device.address, device.uuid) for device in seen] == [
        (0, all_of_them[6].uuid),
        (1, all_of_them[2].uuid),
    ]


def test_an_empty_list_of_visible_devices_is_no_device(tmp_path: Path) -> None:
    with pytest.raises(NoDevice, match=r"may see none of the 8 GPUs of the host \(CUDA_VISIBLE_DEVICES=''\)"):
        inventory(tmp_path, "dgx-a100", CUDA_VISIBLE_DEVICES="")


def test_integers_on_a_host_of_unlike_cards_are_undecidable(tmp_path: Path) -> None:
    mixed = written(tmp_path, first={"product": "Tesla T4"})

    with pytest.raises(Undecidable, match="CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        inventory(tmp_path, mixed, CUDA_VISIBLE_DEVICES="0")

    decided = inventory(tmp_path, mixed, CUDA_VISIBLE_DEVICES="0", CUDA_DEVICE_ORDER="PCI_BUS_ID")
    assert decided.devices[0].product == "Tesla T4"


def test_integers_do_not_name_mig_instances(tmp_path: Path) -> None:
    with pytest.raises(Undecidable, match="name devices by UUID"):
        inventory(tmp_path, "mig-1g", CUDA_VISIBLE_DEVICES="0", CUDA_DEVICE_ORDER="PCI_BUS_ID")


def test_a_mig_instance_is_named_by_its_uuid(tmp_path: Path) -> None:
    third = inventory(tmp_path, "mig-1g").devices[2]

    seen = inventory(tmp_path, "mig-1g", CUDA_VISIBLE_DEVICES=str(third.uuid)).devices

    assert [device.uuid for device in seen] == [third.uuid]


def test_a_mig_instance_is_named_as_old_drivers_named_it(tmp_path: Path) -> None:
    third = inventory(tmp_path, "mig-1g").devices[2]

    seen = inventory(tmp_path, "mig-1g", CUDA_VISIBLE_DEVICES=f"MIG-{third.parent}/10/0").devices

    assert [device.uuid for device in seen] == [third.uuid]


def test_processes_that_see_the_same_cards_are_on_one_host_and_others_are_not(tmp_path: Path) -> None:
    one = inventory(tmp_path, "dgx-a100").host

    assert inventory(tmp_path, "dgx-a100", CUDA_VISIBLE_DEVICES="1").host == one
    assert inventory(tmp_path, "two-t4").host != one


def test_what_is_seen_has_the_fields_of_a_device() -> None:
    assert set(Seen._fields) == {field.name for field in fields(Device)}


def test_a_machine_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadMachine):
        inventory(tmp_path, "none")
