"""A rank under its guardian: how it ends, and what is said about that; in both ways of starting."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from pyspark import cloudpickle

from rigs.attended import Attended
from rigs.processes import assert_gone, eventually
from tritium.train import supervise
from tritium.train.messages import Dump, Dumped, Idle, Stop
from tritium_discovery import Uuid, holds
from tritium_discovery.process import process_id

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("way")]
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def sleep_with_hidden_grandchild(note: str, *, deaf: bool = False) -> None:

    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # A grandchild that hides: a session of its own, a parent that is gone, nothing in common but the mark.
    script = (
        "import os, time; os.fork() and os._exit(0); open({!r}, 'w').write(str(os.getpid())); time.sleep(300)"
    )
    subprocess.run([sys.executable, "-c", script.format(note)], start_new_session=True, check=True)
    time.sleep(300)


def hidden(note: Path) -> psutil.Process:
    return psutil.Process(int(eventually(lambda: note.exists() and note.read_text())))


@pytest.mark.parametrize("deaf", [False, True])
def test_stop_ends_rank_and_hidden_grandchild(
    attend: Callable[..., Attended], tmp_path: Path, *, deaf: bool
) -> None:
    rank = attend(sleep_with_hidden_grandchild, note=str(tmp_path / "pid"), deaf=deaf)
    processes = [rank.rank(), hidden(tmp_path / "pid")]

    began = time.monotonic()
    rank.driver.send(Stop())
    outcome, _ = rank.wait()

    assert outcome.kind == "stopped"
    assert_gone(processes, within_s=0)
    assert time.monotonic() - began < 3
    assert not rank.folder.exists()


def test_a_lost_driver_ends_the_rank(attend: Callable[..., Attended], tmp_path: Path) -> None:
    rank = attend(sleep_with_hidden_grandchild, note=str(tmp_path / "pid"))
    processes = [rank.rank(), hidden(tmp_path / "pid")]

    rank.driver.close()

    rank.wait()
    assert_gone(processes, within_s=0)


def test_a_rank_killed_by_a_signal_is_told_by_its_name(
    attend: Callable[..., Attended], tmp_path: Path
) -> None:
    rank = attend(sleep_with_hidden_grandchild, note=str(tmp_path / "pid"))
    grandchild = hidden(tmp_path / "pid")

    rank.rank().kill()

    outcome, _ = rank.wait()
    assert (outcome.kind, outcome.cause) == ("killed", "killed by SIGKILL")
    assert_gone([grandchild], within_s=0)


def test_a_killed_guardian_takes_rank_and_hidden_grandchild_with_it(
    attend: Callable[..., Attended], tmp_path: Path
) -> None:
    rank = attend(sleep_with_hidden_grandchild, note=str(tmp_path / "pid"))
    processes = [rank.rank(), hidden(tmp_path / "pid")]
    guardian = processes[0].parent()
    assert guardian is not None

    guardian.kill()

    outcome, _ = rank.wait()
    assert outcome.kind == "lost"
    assert_gone(processes, within_s=1)
    assert not rank.folder.exists()


def test_a_guardian_that_is_killed_while_its_gang_waits_is_named_when_the_rank_is_to_start(
    attend: Callable[..., Attended],
) -> None:
    rank = attend(sleep_with_hidden_grandchild, guarded=False, note="")

    outcome, _ = rank.wait()
    assert (outcome.kind, outcome.cause) == ("lost", "its guardian process was killed")
    assert not rank.folder.exists()


def test_a_hold_lasts_exactly_as_long_as_the_rank(attend: Callable[..., Attended], tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    hold = holds.take([Uuid("GPU-1")], what="about to start", directory=tmp_path)
    rank = attend(sleep_with_hidden_grandchild, hold, note=str(tmp_path / "note"))
    hold.close()
    process = rank.rank()
    hidden(tmp_path / "note")

    holder = eventually(
        lambda: next((h for (h,) in holds.held(tmp_path).values() if h.what.startswith("rank 0")), None)
    )
    assert holder is not None
    assert holder.pid == process.pid
    rank.driver.send(Stop())
    rank.wait()
    assert not holds.held(tmp_path)


def hang_in_c(note: str) -> None:
    import ctypes

    silent, _ = os.pipe()
    Path(note).touch()
    ctypes.PyDLL(None).read(silent, ctypes.create_string_buffer(1), 1)  # and keeps the interpreter's lock


def test_a_rank_that_hangs_in_a_call_into_c_says_where_it_is(
    attend: Callable[..., Attended], tmp_path: Path
) -> None:
    rank = attend(hang_in_c, note=str(tmp_path / "note"))
    eventually((tmp_path / "note").exists)

    rank.driver.send(Dump())

    dumped = eventually(lambda: next((said for said in rank.said if isinstance(said, Dumped)), None))
    assert dumped is not None
    assert "in hang_in_c" in dumped.stacks
    idle = eventually(lambda: [s.seconds for s in rank.said if isinstance(s, Idle) and s.seconds > 1])
    assert idle
    rank.driver.send(Stop())
    assert rank.wait()[0].kind == "stopped"


def test_a_rank_that_stands_still_is_ended_and_named(attend: Callable[..., Attended], tmp_path: Path) -> None:
    rank = attend(sleep_with_hidden_grandchild, silence_s=2.0, note=str(tmp_path / "pid"))
    processes = [rank.rank(), hidden(tmp_path / "pid")]

    processes[0].suspend()

    outcome, _ = rank.wait()
    cause = "was stopped by SIGSTOP for 2 s (silence_timeout_s)"
    assert (outcome.kind, outcome.cause) == ("killed", cause)
    assert_gone(processes, within_s=0)


def test_a_rank_that_goes_on_is_not_ended(attend: Callable[..., Attended], tmp_path: Path) -> None:
    rank = attend(sleep_with_hidden_grandchild, silence_s=2.0, note=str(tmp_path / "pid"))
    process = rank.rank()

    process.suspend()
    time.sleep(0.5)
    process.resume()
    time.sleep(3)

    assert rank.ending is None
    assert process.is_running()


def test_a_guardian_that_stands_still_is_replaced(attend: Callable[..., Attended], tmp_path: Path) -> None:
    rank = attend(sleep_with_hidden_grandchild, silence_s=2.0, note=str(tmp_path / "pid"))
    processes = [rank.rank(), hidden(tmp_path / "pid")]

    os.kill(rank.supervisor.guardian.pid, signal.SIGSTOP)

    outcome, _ = rank.wait()
    cause = "its guardian process did not answer for 2 s (silence_timeout_s)"
    assert (outcome.kind, outcome.cause) == ("lost", cause)
    assert_gone(processes, within_s=1)
    assert not rank.folder.exists()


def test_a_rank_and_then_its_guardian_that_stand_still_are_both_ended(
    attend: Callable[..., Attended], tmp_path: Path
) -> None:
    rank = attend(sleep_with_hidden_grandchild, silence_s=2.0, note=str(tmp_path / "pid"))
    processes = [rank.rank(), hidden(tmp_path / "pid")]

    processes[0].suspend()
    eventually(lambda: rank.supervisor._standing is not None)  # so much the guardian has said
    os.kill(rank.supervisor.guardian.pid, signal.SIGSTOP)

    outcome, _ = rank.wait()
    cause = "was stopped by SIGSTOP for 2 s (silence_timeout_s)"
    assert (outcome.kind, outcome.cause) == ("killed", cause)
    assert_gone(processes, within_s=1)


def test_a_rank_ends_with_its_executor_though_its_task_stands_still(
    attend: Callable[..., Attended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen(["sleep", "600"]) as jvm:
        monkeypatch.setattr(supervise, "nearest_jvm", lambda: process_id(jvm.pid))
        rank = attend(sleep_with_hidden_grandchild, note=str(tmp_path / "pid"))
        processes = [rank.rank(), hidden(tmp_path / "pid")]

        jvm.kill()

    assert_gone(processes, within_s=10)
    rank.wait()


def test_a_stop_does_not_wait_for_a_guardian_that_stands_still(
    attend: Callable[..., Attended], tmp_path: Path
) -> None:
    rank = attend(sleep_with_hidden_grandchild, note=str(tmp_path / "pid"))
    processes = [rank.rank(), hidden(tmp_path / "pid")]
    os.kill(rank.supervisor.guardian.pid, signal.SIGSTOP)

    began = time.monotonic()
    rank.driver.send(Stop())

    assert rank.wait()[0].kind == "stopped"
    assert time.monotonic() - began < 3
    assert_gone(processes, within_s=1)


def chatter() -> None:
    for number in range(20_000):
        print(f"line {number}")
    raise ValueError("too much said")


def test_the_driver_hears_a_bearable_part_and_the_log_has_all(
    attend: Callable[..., Attended], tmp_path: Path
) -> None:
    rank = attend(chatter, logs=tmp_path)

    outcome, _ = rank.wait()

    (log,) = tmp_path.iterdir()
    said = rank.lines()
    gaps = [line for line in said if line.startswith("tritium: ")]
    assert log.name.endswith(".0-rank-0.log")
    assert log.read_text().splitlines() == [f"line {number}" for number in range(20_000)]
    assert len(said) < 10_000
    assert all(f"lines left out here; all of it: {log} on " in gap for gap in gaps)
    assert len(said) - len(gaps) + sum(int(gap.split()[1]) for gap in gaps) == 20_000
    assert outcome.log.startswith(f"{log} on ")
    assert "in chatter" in outcome.trace


def die_after_some_words() -> None:
    print("step 41", flush=True)
    print("step 42", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_last_words_of_a_rank_that_left_no_traceback_are_kept(attend: Callable[..., Attended]) -> None:
    outcome, _ = attend(die_after_some_words).wait()

    assert (outcome.kind, outcome.cause) == ("killed", "killed by SIGKILL")
    assert outcome.trace == "step 41\nstep 42"


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group in which 64 MiB are all there is."""
    group = Path(f"/sys/fs/cgroup/memory/tritium-test-{os.getpid()}")
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(64 << 20))
    except OSError as err:
        pytest.skip(f"needs a writable cgroup v1 for memory, as root: {err}")
    yield group
    eventually(lambda: not (group / "cgroup.procs").read_text())
    group.rmdir()


def eat(group: str) -> None:
    (Path(group) / "cgroup.procs").write_text(str(os.getpid()))
    food = []
    while True:
        food.append(bytes(range(256)) * 4096)


def test_a_rank_that_the_kernel_kills_for_lack_of_memory_says_so_and_how_it_is_known(
    attend: Callable[..., Attended], small_group: Path
) -> None:
    outcome, _ = attend(eat, group=str(small_group)).wait(limit_s=60)

    assert outcome.kind == "killed"
    # The rank has left its guardian's group, whose count would be a proof; the host's is a hint.
    assert outcome.cause.startswith("killed by SIGKILL: memory may have run out: ")
    assert "oom_kill" in outcome.cause
