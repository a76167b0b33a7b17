"""The health rules: each speaks when it must, names its numbers, and is silent otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from machines import NAMES, machine, made
from tritium_discovery import Limits
from tritium_discovery.emulate import observe
from tritium_discovery.health import RULES, troubles
from tritium_discovery.observation import Card

CASES: list[tuple[str, dict[str, Any], str]] = [
    ("lost", {"lost_after": 0}, "the card does not answer (nvmlDeviceGetHandleByIndex: GPU is lost"),
    (
        "lost",
        {"fail": {"nvmlDeviceGetTemperature": 16}},
        "the card does not answer (nvmlDeviceGetTemperature",
    ),
    ("unreadable", {"fail": {"nvmlDeviceGetUUID": 999}}, "it cannot be identified: nvmlDeviceGetUUID"),
    (
        "unreadable",
        {"fail": {"nvmlDeviceGetMemoryInfo": 4}},
        "its memory cannot be read: nvmlDeviceGetMemoryInfo",
    ),
    (
        "unreadable",
        {"fail": {"nvmlDeviceGetTotalEccErrors": 999}},
        "its state cannot be read: nvmlDeviceGetTotalEccErrors: Unknown Error",
    ),
    (
        "unreadable",
        {"fail": {"nvmlDeviceGetMigMode": 14}},
        "its state cannot be read: nvmlDeviceGetMigMode: Corrupted infoROM",
    ),
    ("lost", {"fail": {"nvmlDeviceGetRemappedRows": 15}}, "the card does not answer (nvmlDeviceGetRemapped"),
    ("ecc", {"ecc_errors": 1}, "1 uncorrected ECC errors since the last reset, 0 allowed"),
    ("remap", {"remapped": {"failed": True}}, "a row remapping failed"),
    ("remap", {"remapped": {"pending": True}}, "a row remapping is pending"),
    ("retirement", {"capability": "7.0", "retirement_pending": True}, "a page retirement is pending"),
    ("recovery", {"recovery": 2}, "the driver asks for a reboot of the node"),
    ("recovery", {"recovery": 9}, "the driver asks for recovery action 9"),
    ("mig-change", {"mig_pending": True}, "MIG mode is to be switched on at the next reset"),
    ("mig-change", {"mig": True, "mig_pending": False}, "MIG mode is to be switched off"),
    ("mig-change", {"mig": True}, "MIG mode is on and it has no instances"),
    ("absurd", {"used_mib": 50000}, "it says that -9040 of 40960 MiB are free, which cannot be"),
    ("absurd", {"memory_mib": 0}, "it says that 0 of 0 MiB are free, which cannot be"),
    ("absurd", {"temperature_c": 18446744073}, "it says that it is 18446744073 C warm, which cannot be"),
    ("absurd", {"temperature_c": 96}, "it is 96 C warm, 95 C allowed"),
]


def first(**card: Any) -> Card:
    return observe(made(first=card), topology=False).cards[0]


@pytest.mark.parametrize(("rule", "card", "sentence"), CASES)
def test_a_rule_speaks_with_its_numbers(rule: str, card: dict[str, Any], sentence: str) -> None:
    said = RULES[rule](first(**card), Limits())

    assert said is not None
    assert said.startswith(sentence)


@pytest.mark.parametrize(("rule", "card", "sentence"), CASES)
def test_what_a_rule_says_is_among_the_troubles(rule: str, card: dict[str, Any], sentence: str) -> None:
    assert any(trouble.startswith(sentence) for trouble in troubles(first(**card), Limits())), rule


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_tested_and_names_its_source(rule: str) -> None:
    source = RULES[rule].__doc__ or ""

    assert rule in {name for name, _, _ in CASES}
    assert "https://" in source


@pytest.mark.parametrize("name", NAMES)
def test_a_card_that_is_well_has_no_troubles(name: str) -> None:
    if machine(name).init:
        return
    cards = observe(machine(name), topology=False).cards

    ill = [card.number for card in cards if troubles(card, Limits())]

    assert ill == {"lost-gpu": [2], "ill-cards": list(range(1, 8))}.get(name, [])


@pytest.mark.parametrize(
    "card",
    [
        {"remapped": {"correctable": 8, "uncorrectable": 2}},
        {"memory_mib": -1},
        {"mig": True, "instances": [{"slot": 0}], "fail": {"nvmlDeviceGetMemoryInfo": 4}},
        {"vgpu": True},
        {"temperature_c": 95},
        {"fail": {"nvmlDeviceGetTotalEccErrors": 3, "nvmlDeviceGetComputeRunningProcesses": 4}},
        {"fail": {"nvmlDeviceGetFieldValues": 999}},  # a field that an old driver does not know
    ],
)
def test_what_is_no_fault_is_not_called_one(card: dict[str, Any]) -> None:
    assert troubles(first(**card), Limits()) == ()


def test_thresholds_are_the_users() -> None:
    limits = Limits(ecc_errors=5, temperature_c=60)

    assert troubles(first(ecc_errors=5), limits) == ()
    assert troubles(first(temperature_c=61), limits) == ("it is 61 C warm, 60 C allowed",)
