"""CUDA_VISIBLE_DEVICES, as the driver reads it: PyTorch's table of cases, then laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritium_discovery import Uuid
from tritium_discovery.visible import Candidate, entries, visible

HOST = [Candidate(uuid=Uuid(f"GPU-{letter}{number}")) for letter in "ab" for number in range(2)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # torch's test/test_cuda_nvml_based_avail.py, class TestVisibleDeviceParses
        ("1gpu2,2ampere", (1, 2)),
        ("0, 1, 2, -1, 3", (0, 1, 2)),
        ("0, 1, 2, 1", ()),
        ("2, +3, -0, 5", (2, 3, 0, 5)),
        ("one,two,3", ()),
        ("4,3,two", (4, 3)),
        ("GPU-9e8d35e3", ("GPU-9e8d35e3",)),
        ("GPU-123, 2", ("GPU-123",)),
        ("MIG-89c850dc", ("MIG-89c850dc",)),
        ("GPU-1,GPU-1", ()),
        ("GPU-1,MIG-2", ("GPU-1",)),
        ("-1", ()),
        ("", ()),
        ("NoDevFiles", ()),
        (",0", ()),
        ("0,,1", (0,)),
        ("0,GPU-1", (0,)),
        ("+", ()),
    ],
)
def test_entries_are_read_as_the_driver_reads_them(text: str, expected: tuple[int | str, ...]) -> None:
    assert entries(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0,0", []),
        ("2,1,9,3", ["GPU-b0", "GPU-a1"]),
        ("GPU-b1,GPU-a", ["GPU-b1"]),
        ("GPU-a0,GPU-b", ["GPU-a0"]),
        ("GPU-b0,GPU-b0", []),
        ("GPU-zz,GPU-a0", []),
        ("3", ["GPU-b1"]),
    ],
)
def test_reading_stops_at_what_names_no_device(text: str, expected: list[str]) -> None:
    assert list(visible(text, HOST)) == expected


def test_two_spellings_of_one_device_are_a_duplicate() -> None:
    host = [Candidate(uuid=Uuid("GPU-aa11")), Candidate(uuid=Uuid("GPU-bb22"))]

    assert visible("GPU-aa,GPU-aa11", host) == ()


def test_the_old_name_of_a_mig_instance_names_it() -> None:
    legacy = "MIG-GPU-5d5b/7/0"
    host = [Candidate(uuid=Uuid("MIG-1")), Candidate(uuid=Uuid("MIG-2"), legacy=legacy)]

    assert visible(legacy, host) == ("MIG-2",)


@given(st.text())
def test_no_text_makes_it_fail_or_name_a_device_twice(text: str) -> None:
    found = visible(text, HOST)

    assert len(set(found)) == len(found)
    assert set(found) <= {one.uuid for one in HOST}


@given(st.permutations(range(4)))
def test_devices_come_in_the_order_of_the_variable(order: list[int]) -> None:
    assert visible(",".join(map(str, order)), HOST) == tuple(HOST[at].uuid for at in order)
