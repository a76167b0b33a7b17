"""One rank under its guardian, with real processes and without Spark."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import pytest
from pyspark import cloudpickle

import tritium
from rigs.processes import assert_gone, eventually
from tritium.train import guardian, launch
from tritium.train.contract import Attempt, Contract, Peer, base_environment, common_environment
from tritium.train.daemon import start_fork_server
from tritium.train.forkserver import DESCRIPTOR
from tritium.train.messages import (
    Dump,
    Dumped,
    FromTask,
    Idle,
    Line,
    Outcome,
    Report,
    Share,
    Shared,
    Started,
    Stop,
)
from tritium.train.supervise import Supervisor
from tritium_discovery import HostId, Uuid, holds

pytestmark = pytest.mark.process

cloudpickle.register_pickle_by_value(sys.modules[__name__])


def contract(gang: str) -> Contract:
    peer = Peer(
        rank=0,
        local_rank=0,
        group_rank=0,
        host=HostId("here"),
        address="127.0.0.1",
        devices=(),
        shard=0,
        rows=0,
    )
    return Contract(
        attempt=Attempt(gang=gang),
        rank=0,
        size=1,
        local_rank=0,
        local_size=1,
        group_rank=0,
        groups=1,
        devices=(),
        visible=(),
        master=("127.0.0.1", 1),
        threads=1,
        has_data=False,
        peers=(peer,),
    )


class Attended:
    """A rank that runs, the test's end of the driver's wire, and what was said."""

    def __init__(
        self,
        function: Callable[..., Any],
        gang: str,
        hold: holds.Hold | None,
        *,
        silence_s: float,
        logs: Path | None,
        **kwargs: Any,
    ) -> None:
        self.said: list[FromTask] = []
        self.driver, far_end = Pipe()
        self.supervisor = Supervisor(silence_s=silence_s, logs=logs)
        self.folder = self.supervisor.folder
        self.ending: tuple[Outcome, bytes | None] | None = None
        told = contract(gang)
        (self.folder / "function.pkl").write_bytes(cloudpickle.dumps((function, kwargs)))
        environment = {**base_environment(os.environ), **common_environment(told)}
        with open(os.devnull, "rb") as listener:  # noqa: PTH123
            descriptors = [listener.fileno(), *(hold.filenos if hold else ())]
            self.supervisor.start(told, environment, descriptors)
        self._thread = threading.Thread(target=self._attend, args=[far_end])
        self._thread.start()

    def _attend(self, far_end: Connection[Any, Any]) -> None:
        self.ending = self.supervisor.attend(far_end, self.said.append, task=0)

    def wait(self, *, limit_s: float = 15) -> tuple[Outcome, bytes | None]:
        self._thread.join(limit_s)
        assert self.ending is not None, "the rank did not end in time"
        return self.ending

    def rank(self) -> psutil.Process:
        return psutil.Process(
            eventually(lambda: next((s.pid for s in self.said if isinstance(s, Started)), 0))
        )

    def lines(self) -> list[str]:
        return [message.text for message in self.said if isinstance(message, Line)]

    def close(self) -> None:
        if self._thread.is_alive():
            self.driver.close()
            self._thread.join(20)
        self.driver.close()


@pytest.fixture(scope="module")
def fork_server() -> Iterator[str]:
    """The server that an executor's daemon would start, with this process in the daemon's place."""
    with start_fork_server() as server:
        found = os.environ.pop(DESCRIPTOR)
        yield found
        os.close(int(found.partition(":")[0]))
        server.kill()


@pytest.fixture(params=["exec", "fork"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test runs twice: a rank in a fresh interpreter, and one forked from a loaded server."""
    if request.param == "fork":
        monkeypatch.setenv(DESCRIPTOR, request.getfixturevalue("fork_server"))
    return str(request.param)


@pytest.fixture
def attend(request: pytest.FixtureRequest) -> Iterator[Callable[..., Attended]]:
    made: list[Attended] = []

    def start(
        function: Callable[..., Any],
        hold: holds.Hold | None = None,
        *,
        silence_s: float = 30.0,
        logs: Path | None = None,
        **kwargs: Any,
    ) -> Attended:
        gang = f"{request.node.name[:40]}-{os.getpid()}"
        made.append(Attended(function, gang, hold, silence_s=silence_s, logs=logs, **kwargs))
        return made[-1]

    yield start
    for attended in made:
        attended.close()


def answer() -> int:
    print("thinking", flush=True)
    print("done", end="")
    return 42


def test_a_ranks_value_its_words_and_its_process_id_come_back(attend: Callable[..., Attended]) -> None:
    rank = attend(answer)

    outcome, value = rank.wait()

    assert outcome.kind == "returned"
    assert value is not None
    assert cloudpickle.loads(value) == 42
    assert rank.lines() == ["thinking", "done"]


def loaded() -> bool:
    return "torch" in sys.modules


@pytest.mark.torch
def test_a_forked_rank_has_its_framework_loaded(attend: Callable[..., Attended], way: str) -> None:
    _, value = attend(loaded).wait()

    assert value is not None
    assert cloudpickle.loads(value) is (way == "fork")


def report() -> None:
    tritium.rank().report(epoch=1, loss=0.5)
    tritium.rank().report(epoch=2, loss=0.25)


def test_reports_arrive_in_order(attend: Callable[..., Attended]) -> None:
    rank = attend(report)

    rank.wait()

    reports = [message.values for message in rank.said if isinstance(message, Report)]
    assert reports == [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]


def gather() -> list[object]:
    rank = tritium.rank()
    rank.barrier()
    return [rank.all_gather({"mine": rank.rank}), rank.broadcast("root")]


def test_a_rank_gathers_through_the_driver(attend: Callable[..., Attended]) -> None:
    rank = attend(gather)
    for _ in range(3):
        share = eventually(
            lambda: next((message for message in rank.said if isinstance(message, Share)), None)
        )
        assert share is not None
        rank.said.remove(share)
        rank.driver.send(Shared(call=share.call, payloads=(share.payload,)))

    _, value = rank.wait()

    assert value is not None
    assert cloudpickle.loads(value) == [[{"mine": 0}], "root"]


def fail() -> None:
    raise ValueError("no rows in shard")


def test_an_exception_comes_back_with_the_ranks_own_traceback(attend: Callable[..., Attended]) -> None:
    outcome, value = attend(fail).wait()

    assert (outcome.kind, outcome.cause, value) == ("raised", "ValueError: no rows in shard", None)
    assert "in fail" in outcome.trace
    assert "rank_process" not in outcome.trace


def leave(code: int) -> None:
    sys.exit(code)


def test_sys_exit_is_told_by_its_code(attend: Callable[..., Attended]) -> None:
    assert attend(leave, code=0).wait()[0].kind == "returned"
    outcome, _ = attend(leave, code=3).wait()
    assert (outcome.kind, outcome.cause) == ("exited", "exited with code 3")


def leave_at_once() -> None:
    os._exit(7)


def test_a_rank_that_leaves_without_a_word_is_told_by_its_exit_code(attend: Callable[..., Attended]) -> None:
    outcome, _ = attend(leave_at_once).wait()

    assert (outcome.kind, outcome.cause) == ("exited", "exited with code 7")


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


def test_a_hold_lasts_exactly_as_long_as_the_rank(attend: Callable[..., Attended], tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    hold = holds.take([Uuid("GPU-1")], what="about to start", directory=tmp_path)
    rank = attend(sleep_with_hidden_grandchild, hold, note=str(tmp_path / "note"))
    hold.close()
    process = rank.rank()
    hidden(tmp_path / "note")

    holder = eventually(
        lambda: next((h for h in holds.held(tmp_path).values() if h.what.startswith("rank 0")), None)
    )
    assert holder is not None
    assert holder.pid == process.pid
    rank.driver.send(Stop())
    rank.wait()
    assert not holds.held(tmp_path)


def test_a_rank_that_was_never_started_leaves_nothing() -> None:
    supervisor = Supervisor()

    supervisor.abandon()

    assert not supervisor.folder.exists()


def test_a_guardian_that_is_killed_before_the_start_leaves_nothing() -> None:
    supervisor = Supervisor()
    (supervisor.folder / "shard.arrow").write_bytes(b"rows")

    os.kill(supervisor.guardian.pid, signal.SIGKILL)
    supervisor.abandon()

    assert not supervisor.folder.exists()


def draw_a_bar() -> None:
    for step in range(3):
        print(f"\r{step}/3", end="", flush=True)
    print("\n" + "x" * 100_000)
    sys.stdout.write("no end")


def test_a_progress_bar_is_heard_line_by_line_and_a_line_without_end_has_a_limit(
    attend: Callable[..., Attended],
) -> None:
    rank = attend(draw_a_bar)

    rank.wait()

    lines = [line for line in rank.lines() if line]
    assert lines[:3] == ["0/3", "1/3", "2/3"]
    assert "".join(lines[3:]) == "x" * 100_000 + "no end"


def report_a_tensor() -> None:
    import numpy as np

    tritium.rank().report(loss=np.float32(0.5))
    tritium.rank().report(loss=[1.0])


def test_a_number_is_reported_whatever_holds_it_and_a_list_is_refused_by_name(
    attend: Callable[..., Attended],
) -> None:
    rank = attend(report_a_tensor)

    outcome, _ = rank.wait()

    assert [message.values for message in rank.said if isinstance(message, Report)] == [{"loss": 0.5}]
    assert outcome.cause == "TypeError: report(loss=...): expected a number or a text, got list"


def wait_in_vain() -> list[object]:
    rank = tritium.rank()
    try:
        rank.all_gather("first", timeout_s=0.2)
    except TimeoutError:
        return rank.all_gather("second")
    return []


def test_a_late_answer_is_not_taken_for_the_next_one(attend: Callable[..., Attended]) -> None:
    rank = attend(wait_in_vain)

    def both() -> list[Share]:
        shares = [message for message in rank.said if isinstance(message, Share)]
        return shares if len(shares) == 2 else []

    shares = eventually(both)
    for share in shares:
        rank.driver.send(Shared(call=share.call, payloads=(share.payload,)))

    _, value = rank.wait()
    assert value is not None
    assert cloudpickle.loads(value) == ["second"]


def test_a_fork_server_that_was_stopped_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with start_fork_server() as server:
        monkeypatch.setenv(DESCRIPTOR, os.environ.pop(DESCRIPTOR))
        server.send_signal(signal.SIGSTOP)

        supervisor = Supervisor()
        supervisor.abandon()

        assert psutil.Process(server.pid).status() == psutil.STATUS_STOPPED
        server.kill()
        os.close(int(os.environ[DESCRIPTOR].partition(":")[0]))


def test_a_fork_server_that_comes_too_late_leaves_the_rank_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launch, "_FORK_LIMIT_S", 0.3)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    monkeypatch.setenv(DESCRIPTOR, f"{ours.fileno()}:{os.getpid()}")

    supervisor = Supervisor()
    with theirs:
        folder, (wire, output), _, _ = socket.recv_fds(theirs, 4096, 2)
        late = os.fork()
        if late == 0:
            guardian.guard(socket.socket(fileno=wire), Path(os.fsdecode(folder)), start=guardian.fork_rank)
            os._exit(0)
        os.waitpid(late, 0)
        os.close(wire)
        os.close(output)
    ours.close()

    assert supervisor.folder.is_dir()
    supervisor.abandon()
    assert not supervisor.folder.exists()


def test_a_fork_server_ends_with_its_daemon_even_while_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_module.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("TRITIUM_PREIMPORT", "slow_module")
    daemon = "from tritium.train.daemon import *; import time; print(start_fork_server().pid); time.sleep(60)"

    with subprocess.Popen([sys.executable, "-u", "-c", daemon], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        server = psutil.Process(int(process.stdout.readline()))
        eventually(lambda: "forkserver" in " ".join(server.cmdline()))
        time.sleep(0.5)
        process.kill()

        assert_gone([server], within_s=2)


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
    assert outcome.cause.startswith("killed by SIGKILL: out of memory: ")
    assert "oom_kill" in outcome.cause
