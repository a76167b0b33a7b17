"""Quarantine: ill devices come back after a while, later each time; time is a number here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines import settings, written
from tritium_discovery import BadState, Uuid, discover, quarantine
from tritium_discovery.inventory import Seen
from tritium_discovery.look import look
from tritium_discovery.quarantine import Record, advance, parse

DAY_S = 86400.0


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return look(settings(tmp_path_factory.mktemp("state"), TRITIUM_MACHINE="one-gpu")).devices[0]


def after(card: Seen, course: list[tuple[float, bool]]) -> tuple[Record | None, Seen]:
    """The record and the device after a course of looks: when, and whether it was well."""
    record: Record | None = None
    device = card
    for now, well in course:
        device = card if well else card._replace(troubles=("it is 99 C warm, 95 C allowed",))
        record, device = advance(record, device, now=now, quarantine_s=300.0)
    return record, device


def test_a_device_that_was_never_ill_is_not_remembered(card: Seen) -> None:
    assert after(card, [(0, True), (10, True)]) == (None, card)


def test_a_device_just_well_again_is_kept_back(card: Seen) -> None:
    _, device = after(card, [(0, False), (10, True), (50, True)])

    assert device.troubles == (
        "in quarantine: it is 99 C warm, 95 C allowed; it has looked healthy for 40 of 300 s",
    )


def test_a_device_well_for_long_enough_is_used_again(card: Seen) -> None:
    _, device = after(card, [(0, False), (10, True), (310, True)])

    assert not device.troubles


def test_each_relapse_doubles_the_wait(card: Seen) -> None:
    course = [(0.0, False), (10.0, True), (400.0, False), (410.0, True)]

    assert after(card, [*course, (410.0 + 599, True)])[1].troubles
    assert not after(card, [*course, (410.0 + 600, True)])[1].troubles


def test_staying_ill_is_one_illness(card: Seen) -> None:
    record, _ = after(card, [(0, False), (1, False), (2, False)])

    assert record is not None
    assert record.strikes == 1


def test_a_good_day_is_forgotten_whatever_was_before(card: Seen) -> None:
    assert after(card, [(0, False), (10, True), (10 + DAY_S, True)])[0] is None


def test_a_clock_set_back_does_not_keep_a_device_for_ever(card: Seen) -> None:
    _, device = after(card, [(10_000, False), (10_010, True), (0, True), (300, True)])

    assert not device.troubles


@given(st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), max_size=30))
def test_an_ill_device_is_never_called_healthy(course: list[tuple[float, bool]]) -> None:
    card = Seen(
        uuid=Uuid("GPU-1"),
        address=0,
        pci_bus_id="00000000:01:00.0",
        product="Tesla T4",
        memory_mib=1,
        free_mib=1,
        capability=(7, 5),
        numa_node=None,
        cpus="",
        parent=None,
        mig_profile=None,
        processes=(),
        troubles=(),
    )
    _, device = after(card, [*course, (1e6, False)])

    assert device.troubles


def test_an_ill_card_stays_out_after_it_says_that_it_is_well(tmp_path: Path) -> None:
    ill = settings(tmp_path, TRITIUM_MACHINE=written(tmp_path, first={"temperature_c": 99}))
    assert "99 C warm" in discover(ill).devices[0].troubles[0]
    well = settings(tmp_path, TRITIUM_MACHINE=written(tmp_path))

    first, second = discover(well).devices

    assert first.troubles[0].startswith("in quarantine: it is 99 C warm")
    assert second.healthy
    short = settings(tmp_path, TRITIUM_MACHINE=written(tmp_path), TRITIUM_QUARANTINE_S="0.001")
    assert discover(short).devices[0].healthy


def test_records_of_another_boot_count_for_nothing(card: Seen, tmp_path: Path) -> None:
    record, _ = after(card, [(0, False)])
    assert record is not None

    quarantine.save(tmp_path, "boot-1", {card.uuid: record})

    assert quarantine.load(tmp_path, "boot-1") == {card.uuid: record}
    assert quarantine.load(tmp_path, "boot-2") == {}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to other users")
def test_what_another_user_left_in_its_place_is_refused_and_not_believed(tmp_path: Path) -> None:
    quarantine.save(tmp_path, "boot-1", {})
    path = next(tmp_path.glob("quarantine-*"))

    os.chown(path, 65534, 65534)

    with pytest.raises(BadState, match="belongs to another user; remove it"):
        quarantine.load(tmp_path, "boot-1")


@given(st.binary() | st.text().map(str.encode))
def test_no_file_makes_it_fail_in_another_way(text: bytes) -> None:
    with pytest.raises(BadState, match="is no quarantine file"):
        parse(text, boot_id="b", where="f")
