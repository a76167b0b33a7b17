"""Machine files: what ships is right, and what is wrong is said with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines import NAMES, machine
from tritium_discovery import BadMachine
from tritium_discovery.machine import load, parse


@pytest.mark.parametrize("name", NAMES)
def test_a_machine_that_ships_says_what_it_is(name: str) -> None:
    assert machine(name).about


def test_no_two_cards_of_all_machines_share_an_identity() -> None:
    uuids = [card.uuid for name in NAMES for card in machine(name).cards]

    assert len(set(uuids)) == len(uuids)


# Of NVIDIA's own mocks in Go: github.com/NVIDIA/go-nvml v0.13.4-1, pkg/nvml/mock/gpus/a100.go.
PRODUCTS = {
    "NVIDIA A100-SXM4-40GB": (40960, (8, 0)),
    "NVIDIA A100-SXM4-80GB": (81920, (8, 0)),
    "NVIDIA A100-PCIE-40GB": (40960, (8, 0)),
}
PROFILES = {"1g.5gb": 4864}


def test_cards_are_as_nvidias_own_mocks_describe_them() -> None:
    cards = [card for name in NAMES for card in machine(name).cards if card.product in PRODUCTS]
    parts = [part for card in cards for part in card.instances]

    assert {card.product: (card.memory_mib, card.capability) for card in cards} == PRODUCTS
    assert {part.profile: part.memory_mib for part in parts} == PROFILES


def test_an_unknown_machine_is_answered_with_those_there_are() -> None:
    with pytest.raises(BadMachine, match=r"no emulated machine 'dgx-9000'; there are dgx-16, dgx-a100, "):
        load("dgx-9000")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ([], "expected a mapping, got []"),
        ({"cards": [{"produkt": "T4"}]}, "cards[0].produkt: unknown key; known are "),
        ({"cards": [{"memory_mib": "much"}]}, "cards[0].memory_mib: expected int, got 'much'"),
        ({"cards": [{}], "order": [1]}, "machine m: order: expected each of the 1 cards once, got [1]"),
        (
            {"cards": [{}], "nvlinks": [[0, 1, 4]]},
            "nvlinks[0]: expected [card, other card, 1 to 18 links], got",
        ),
        ({"cards": [{"instances": [{"slots": 1}]}]}, "cards[0].instances[0].slots: unknown key"),
        ({"cards": [{"capability": "new"}]}, "cards[0].capability: expected such as '8.0'"),
        ({"fail": {"nvmlInit": "x"}}, "fail.nvmlInit: expected int, got 'x'"),
        ({"cards": [{"remapped": {"failed": 1}}]}, "cards[0].remapped.failed: expected bool, got 1"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_place(data: object, sentence: str) -> None:
    with pytest.raises(BadMachine) as caught:
        parse(data, name="m")

    assert str(caught.value).startswith(sentence)


KEYS = st.sampled_from(
    [
        *("cards", "card", "order", "nvlinks", "fail", "driver", "init", "hang"),
        *("uuid", "mig", "capability", "instances", "remapped", "processes"),
    ]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS | st.text() | st.integers(), inner),
)


@given(ANYTHING)
def test_no_data_makes_parsing_fail_in_another_way(data: object) -> None:
    try:
        parse(data, name="m")
    except BadMachine as err:
        assert str(err)  # noqa: PT017 - either outcome is right, and nothing else is


@given(text=st.text())
def test_no_text_makes_loading_fail_in_another_way(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        load(str(path))
    except BadMachine as err:
        assert "\n" not in str(err)  # noqa: PT017 - either outcome is right, and nothing else is


def test_of_a_file_that_is_no_machine_its_name_is_said_and_not_its_content(tmp_path: Path) -> None:
    file = tmp_path / "passwords.yaml"
    file.write_text("root:x:0:0:root:/root:/bin/bash\n" * 20, encoding="utf-8")

    with pytest.raises(
        BadMachine, match=r"machine file .*passwords\.yaml: expected a mapping, got 'root"
    ) as caught:
        load(str(file))

    assert len(str(caught.value)) < 250


def test_a_directory_is_no_machine_file(tmp_path: Path) -> None:
    with pytest.raises(BadMachine):
        load(str(tmp_path))


def test_numbers_that_yaml_makes_of_versions_are_versions_again(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("cuda: 12.4\ndriver: 550\ncards: [{capability: 8.6}]\n", encoding="utf-8")

    found = load(str(path))

    assert (found.cuda, found.driver, found.cards[0].capability) == ("12.4", "550", (8, 6))
