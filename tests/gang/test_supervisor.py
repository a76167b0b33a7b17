"""A rank under its guardian: how it starts, and what is heard of it; in both ways of starting."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from pyspark import cloudpickle

import tritium
from rigs.attended import Attended
from rigs.processes import assert_gone, eventually
from tritium.train import guardian, launch
from tritium.train.daemon import start_fork_server
from tritium.train.forkserver import DESCRIPTOR
from tritium.train.messages import Report, Share, Shared
from tritium.train.supervise import Supervisor

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("way")]
cloudpickle.register_pickle_by_value(sys.modules[__name__])


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


def call_another() -> str:
    from tritium.train.rank import DifferentCalls

    try:
        tritium.rank().barrier()
    except DifferentCalls as err:
        return str(err)
    return ""


def test_a_rank_whose_peer_calls_something_else_is_told_what(attend: Callable[..., Attended]) -> None:
    rank = attend(call_another)
    share = eventually(lambda: next((message for message in rank.said if isinstance(message, Share)), None))
    assert share is not None
    assert share.operation == "barrier()"

    rank.driver.send(Shared(call=share.call, payloads=(), mismatch="the other gathers"))

    _, value = rank.wait()
    assert value is not None
    assert cloudpickle.loads(value) == "the other gathers"


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
        _, (wire, output), _, _ = socket.recv_fds(theirs, 16, 2)
        late = os.fork()
        if late == 0:
            guardian.guard(socket.socket(fileno=wire), start=guardian.fork_rank)
            os._exit(0)
        os.waitpid(late, 0)
        os.close(wire)
        os.close(output)
    ours.close()

    assert list(supervisor.folder.parent.glob("tritium-rank-*")) == [supervisor.folder]
    supervisor.abandon()
    assert not supervisor.folder.exists()


def test_a_task_that_ends_while_it_waits_for_the_fork_server_leaves_nothing(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        environment = {DESCRIPTOR: f"{theirs.fileno()}:{os.getpid()}", "TMPDIR": str(tmp_path)}
        with subprocess.Popen(
            [sys.executable, "-c", "from tritium.train.supervise import Supervisor; Supervisor()"],
            env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(sys.path)},
            pass_fds=[theirs.fileno()],
        ) as task:
            _, descriptors, _, _ = socket.recv_fds(ours, 16, 2)
            task.kill()
    for descriptor in descriptors:
        os.close(descriptor)

    assert not list(tmp_path.iterdir())


def test_no_room_for_a_ranks_folder_is_said_in_the_words_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(DESCRIPTOR, raising=False)
    script = "import tempfile; from tritium.train.guardian import main; import sys\n"
    script += f"tempfile.tempdir = {str(tmp_path / 'gone')!r}\nsys.exit(main(sys.argv[1:]))\n"
    start = subprocess.Popen
    monkeypatch.setattr(
        subprocess,
        "Popen",
        lambda command, **options: start([command[0], "-c", script, *command[2:]], **options),
    )

    with pytest.raises(OSError, match=f"No such file or directory: '{tmp_path}/gone/tritium-rank-"):
        Supervisor()


def test_a_fork_server_ends_with_its_daemon_even_while_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = tmp_path / "started"
    (tmp_path / "slow_module.py").write_text(
        f"import time\nopen({str(started)!r}, 'w').close()\ntime.sleep(60)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("TRITIUM_PREIMPORT", "slow_module")
    daemon = "from tritium.train.daemon import *; import time; print(start_fork_server().pid); time.sleep(60)"

    with subprocess.Popen([sys.executable, "-u", "-c", daemon], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        server = psutil.Process(int(process.stdout.readline()))
        eventually(started.exists)
        process.kill()

        assert_gone([server], within_s=2)
