"""A rank computes with as many threads as it has cores, in a container and outside of one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tritium.train.cpus import _limits, cores, usable


def test_this_process_has_no_more_cores_than_it_may_run_on() -> None:
    assert 1 <= usable() <= len(os.sched_getaffinity(0))


def test_fewer_cores_to_run_on_are_seen_at_once() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("affinity", "limits", "expected"),
    [
        (64, [], 64),
        (64, ["max 100000"], 64),
        (64, ["250000 100000"], 3),
        (64, ["800000 100000", "200000 100000"], 2),
        (1, ["800000 100000"], 1),
        (8, ["1000 100000"], 1),
        (8, ["garbage", "", "0 0"], 8),
    ],
)
def test_the_tightest_limit_counts_and_one_core_is_always_left(
    affinity: int, limits: list[str], expected: int
) -> None:
    assert cores(affinity, limits) == expected


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_limits_of_all_groups_above_are_read_in_version_2(tmp_path: Path) -> None:
    write(tmp_path / "member", "0::/pods/one\n")
    write(tmp_path / "pods" / "one" / "cpu.max", "max 100000\n")
    write(tmp_path / "pods" / "cpu.max", "400000 100000\n")

    assert list(_limits(tmp_path / "member", tmp_path)) == ["max 100000", "400000 100000"]


def test_limits_are_read_in_version_1(tmp_path: Path) -> None:
    write(tmp_path / "member", "4:memory:/a\n3:cpu,cpuacct:/a\n")
    write(tmp_path / "cpu,cpuacct" / "a" / "cpu.cfs_quota_us", "150000\n")
    write(tmp_path / "cpu,cpuacct" / "a" / "cpu.cfs_period_us", "100000\n")

    assert list(_limits(tmp_path / "member", tmp_path)) == ["150000 100000"]


def test_in_a_container_that_shows_the_hosts_path_the_root_is_its_own_group(tmp_path: Path) -> None:
    write(tmp_path / "member", "0::/on/the/host/only\n")
    write(tmp_path / "cpu.max", "200000 100000\n")

    assert list(_limits(tmp_path / "member", tmp_path)) == ["200000 100000"]
