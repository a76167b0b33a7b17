"""Links: direct NVLink, NVSwitch, PCIe paths, MIG siblings; and the memory of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines import machine, made
from tritium_discovery import Inventory, LinkKind, Settings
from tritium_discovery.emulate import observe
from tritium_discovery.inventory import seen
from tritium_discovery.machine import Machine
from tritium_discovery.matrix import name
from tritium_discovery.observation import Key, Memory
from tritium_discovery.publish import inventory_of
from tritium_discovery.wiring import load, parse, save


def inventory(model: Machine) -> Inventory:
    observation = observe(model, topology=True)
    devices = seen(observation, Settings(), host=Memory(1, 1))
    return inventory_of(observation, devices, boot_id="b", hostname="h")


def classes(model: Machine) -> dict[tuple[int, int], str]:
    """The name of the link of each pair of addresses."""
    found = inventory(model)
    at = {device.uuid: device.address for device in found.devices}
    return {(at[one], at[other]): name(link) for (one, other), link in found.links.items()}


@pytest.mark.parametrize("model", ["dgx-a100", "dgx-16"])
def test_cards_behind_nvswitches_are_linked_each_to_each(model: str) -> None:
    lanes = {"dgx-a100": "NV12", "dgx-16": "NV6"}[model]

    assert set(classes(machine(model)).values()) == {lanes}


def test_direct_nvlinks_are_counted_per_pair() -> None:
    found = classes(made(cards=3, card={"pcie": "n0/h0"}, nvlinks=[[0, 1, 4], [1, 2, 2]]))

    assert found == {(0, 1): "NV4", (1, 2): "NV2", (0, 2): "PHB"}


@pytest.mark.parametrize(
    ("paths", "kind"),
    [
        (("n0/h0/s0", "n0/h0/s0"), "PIX"),
        (("n0/h0/r0/s0", "n0/h0/r0/s1"), "PXB"),
        (("n0/h0/s0", "n0/h0/s1"), "PHB"),
        (("n0/h0", "n0/h1"), "NODE"),
        (("n0/h0", "n1/h0"), "SYS"),
    ],
)
def test_pcie_paths_are_named_as_nvidia_smi_names_them(paths: tuple[str, str], kind: str) -> None:
    model = made(card={"pcie": paths[1]}, first={"pcie": paths[0]})

    assert classes(model) == {(0, 1): kind}


def test_instances_of_one_card_are_one_card_and_have_no_nvlink() -> None:
    found = classes(machine("mig-1g"))

    assert found[0, 1] == "SAME"
    assert {name for pair, name in found.items() if 5 in pair} == {"PIX"}


@pytest.mark.parametrize("model", ["dgx-a100", "dgx-16", "mig-1g", "lost-gpu", "one-gpu"])
def test_each_pair_has_exactly_one_link(model: str) -> None:
    found = inventory(machine(model))

    count = len(found.devices)
    assert len(found.links) == count * (count - 1) // 2
    assert all(one < other for one, other in found.links)


def test_a_card_that_cannot_be_asked_is_as_far_as_can_be() -> None:
    found = classes(machine("lost-gpu"))

    # The lost card's bus id is unknown, so no path to it is.
    assert {kind for pair, kind in found.items() if 2 in pair} == {"SYS"}


def test_a_wiring_is_remembered_as_it_was(tmp_path: Path) -> None:
    topology = observe(machine("dgx-a100"), topology=True).topology
    assert topology is not None
    key = Key(boot_id="b", driver="550", buses=("1", "2"))

    save(tmp_path, key, topology)

    assert load(tmp_path) == (key, topology)


def test_a_broken_memory_is_read_anew(tmp_path: Path) -> None:
    assert load(tmp_path) is None
    save(
        tmp_path, Key(boot_id="b", driver="5", buses=()), observe(made(), topology=True).topology or _never()
    )
    next(tmp_path.glob("wiring-*")).write_text("{", encoding="utf-8")

    assert load(tmp_path) is None


def _never() -> Any:
    raise AssertionError


@given(st.binary() | st.text().map(str.encode))
def test_no_memory_makes_it_fail(text: bytes) -> None:
    assert parse(text) is None


def test_links_compare_by_speed() -> None:
    found = inventory(made(cards=3, card={"pcie": "n0/h0"}, nvlinks=[[0, 1, 4], [1, 2, 2]])).links

    assert [link.lanes for link in sorted(found.values())] == [0, 2, 4]
    assert max(found.values()).kind is LinkKind.NVLINK
