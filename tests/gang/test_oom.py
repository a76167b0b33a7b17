"""Out-of-memory kills are told from the kernel's counters, of both kinds of groups and of the host."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tritium.train import oom
from tritium.train.ending import from_outside, how_it_ended


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "vmstat").write_text("nr_free_pages 12\noom_kill 7\n")
    return tmp_path / "proc"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_kill_in_a_group_of_the_second_kind_is_found(proc: Path, tmp_path: Path) -> None:
    (proc / "self" / "cgroup").write_text("0::/kubepods/pod7\n")
    events = tmp_path / "cg" / "kubepods" / "pod7" / "memory.events"
    write(events, "low 0\nmax 3\noom 1\noom_kill 0\n")

    before = oom.kills(proc=proc, cgroups=tmp_path / "cg")
    write(events, "low 0\nmax 9\noom 2\noom_kill 1\n")

    now = oom.kills(proc=proc, cgroups=tmp_path / "cg")
    assert oom.evidence(before, now).endswith(f"(oom_kill 0 -> 1 in {events})")


def test_a_kill_in_a_group_of_the_first_kind_is_found_where_a_container_mounts_it(
    proc: Path, tmp_path: Path
) -> None:
    (proc / "self" / "cgroup").write_text("9:cpu,cpuacct:/docker/3f\n4:memory:/docker/3f\n0::/\n")
    control = tmp_path / "cg" / "memory" / "memory.oom_control"
    write(control, "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")

    before = oom.kills(proc=proc, cgroups=tmp_path / "cg")
    write(control, "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")

    now = oom.kills(proc=proc, cgroups=tmp_path / "cg")
    assert oom.evidence(before, now).endswith(f"(oom_kill 2 -> 3 in {control})")


def test_a_kill_that_only_the_host_counted_is_told_as_the_hosts(proc: Path, tmp_path: Path) -> None:
    before = oom.kills(proc=proc, cgroups=tmp_path / "none")
    (proc / "vmstat").write_text("oom_kill 8\n")

    now = oom.kills(proc=proc, cgroups=tmp_path / "none")
    assert oom.evidence(before, now).endswith(f"(oom_kill 7 -> 8 in {proc / 'vmstat'})")


def test_a_kill_without_a_count_is_no_evidence(proc: Path, tmp_path: Path) -> None:
    assert oom.evidence(oom.kills(proc=proc, cgroups=tmp_path), oom.kills(proc=proc, cgroups=tmp_path)) == ""
    assert oom.kills(proc=tmp_path / "nothing", cgroups=tmp_path) == {}


def test_only_a_kill_of_the_last_beats_counts() -> None:
    """A rank trains for days: what the kernel killed on the first of them did not end it on the third."""
    counts = {"/cg/memory.events": 0}
    recent = oom.Recent(lambda: dict(counts))
    counts["/cg/memory.events"] = 1

    assert recent.evidence(signal.SIGKILL).startswith("out of memory: ")
    for _ in range(5):
        recent.beat()
    assert recent.evidence(signal.SIGKILL) == ""


def test_no_other_signal_is_the_kernels_for_lack_of_memory() -> None:
    counts = {"/cg/memory.events": 0}
    recent = oom.Recent(lambda: dict(counts))
    counts["/cg/memory.events"] = 1

    assert recent.evidence(signal.SIGSEGV) == ""


def test_what_only_the_host_counted_is_a_hint_and_no_reason_against_a_retry() -> None:
    hint = oom.evidence({"/proc/vmstat": 7}, {"/proc/vmstat": 8})
    verdict = oom.evidence({"/cg/memory.events": 7}, {"/cg/memory.events": 8})

    assert hint.startswith("memory may have run out: ")
    assert from_outside(how_it_ended(signal.SIGKILL, None, oom=hint).cause)
    assert not from_outside(how_it_ended(signal.SIGKILL, None, oom=verdict).cause)
