"""Processes that a model starts: they share what their owner has, and nothing of it may outlive the owner."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from rigs.owners import Executor, by_value, numbers, ys
from rigs.processes import assert_gone, eventually
from tritium.infer import lodging, vigil
from tritium.infer.prepare import Prepare
from tritium_discovery import holds

pytestmark = pytest.mark.process
by_value(__name__)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for an owner that has gone does not do so for long."""
    monkeypatch.setattr(vigil.Vigil, "listens_s", 0.3)


def forked() -> None:
    """Start a copy of this process, as a pool or a DataLoader does."""
    import multiprocessing

    multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,)).start()


def hidden() -> None:
    """Start one that is nobody's child, in a session of its own, as a daemon does."""
    if not (child := os.fork()):
        os.setsid()
        if os.fork():
            os._exit(0)
        time.sleep(600)
        os._exit(0)
    os.waitpid(child, 0)


def executed() -> None:
    """Start another program, as an engine is started."""
    import subprocess

    subprocess.Popen(["sleep", "600"])


@pytest.fixture(params=[forked, hidden, executed])
def starting(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Any], Any]:
    """A model whose ``load`` starts a process, and once ends its owner alone in the middle of the batches."""
    start = request.param

    def load(_: Any) -> Any:
        start()

        def predict(rows: Any) -> Any:
            if rows["x"][0] == 4 and not (tmp_path / "killed").exists():
                (tmp_path / "killed").touch()
                os.kill(os.getpid(), 9)
            return rows["x"]

        return predict

    return load


def test_a_task_whose_owner_alone_is_killed_goes_on_with_the_next(
    one_gpu: Executor, starting: Callable[[Any], Any], tmp_path: Path
) -> None:
    assert one_gpu.predicted(starting, numbers(2, 2, 2, 2), limit_s=5) == list(range(8))

    assert (tmp_path / "killed").exists()
    # One owner, who keeps it, and what its model has started: nothing is left of the first.
    eventually(lambda: len(one_gpu.processes()) == 3)


def test_what_a_killed_owner_had_is_free_and_its_name_is_gone(
    one_gpu: Executor, starting: Callable[[Any], Any], state: Path
) -> None:
    one_gpu.predicted(starting, numbers(2))
    (owner,) = one_gpu.owners()

    owner.kill()

    eventually(lambda: not holds.held(state) and not one_gpu.sockets() and not one_gpu.processes())


def test_an_owner_that_stands_still_and_all_that_it_started_go_with_the_executor(
    one_gpu: Executor, starting: Callable[[Any], Any]
) -> None:
    one_gpu.predicted(starting, numbers(2))
    left = one_gpu.processes()
    (owner,) = one_gpu.owners()
    owner.suspend()

    one_gpu.jvm.kill()

    assert_gone(left, within_s=10)


def test_an_owner_that_ends_by_itself_leaves_nothing(
    one_gpu: Executor, starting: Callable[[Any], Any]
) -> None:
    one_gpu.predicted(starting, numbers(2), keep_s=0.1)

    eventually(lambda: not one_gpu.processes())


def test_an_owner_goes_with_who_keeps_it_and_takes_along_what_it_started(one_gpu: Executor) -> None:
    def load(_: Any) -> Any:
        forked()
        return lambda rows: rows["x"]

    one_gpu.predicted(load, numbers(2))
    (owner,) = one_gpu.owners()
    keeper = owner.parent()
    assert keeper is not None
    assert keeper in one_gpu.processes()

    keeper.kill()

    eventually(lambda: not one_gpu.processes())


def test_what_a_model_starts_and_that_ends_is_reaped(one_gpu: Executor) -> None:
    def load(_: Any) -> Any:
        hidden()
        return lambda rows: rows["x"]

    one_gpu.predicted(load, numbers(2))
    (owner,) = one_gpu.owners()
    keeper = owner.parent()
    assert keeper is not None
    (orphan,) = set(keeper.children()) - {owner}

    orphan.kill()

    eventually(lambda: not psutil.pid_exists(orphan.pid))


def test_a_program_that_a_model_starts_gets_none_of_the_owners_descriptors(one_gpu: Executor) -> None:
    def load(_: Any) -> Any:
        child = os.posix_spawn("/bin/sleep", ["sleep", "600"], dict(os.environ))

        def predict(rows: Any) -> Any:
            links = [link.readlink() for link in Path(f"/proc/{child}/fd").iterdir() if int(link.name) > 2]
            return [" ".join(map(str, links))] * len(rows["x"])

        return predict

    feeder = one_gpu.feeder(load)
    feed = Prepare(columns=("x",), preprocess=None, quarantine=False).feed(numbers(1))

    ((had,),) = (ys(answered) for answered in feeder.answers(feed))

    assert [word for word in had.split() if "socket" in word or "hold-" in word or "pidfd" in word] == []


def test_what_a_task_forks_while_it_waits_for_its_owner_to_start_holds_no_device(
    one_gpu: Executor, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attached, had = lodging.Lodging._attached, []

    def looking(self: Any, *words: Any, **options: Any) -> Any:
        for link in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                had.append(link.readlink())
        return attached(self, *words, **options)

    monkeypatch.setattr(lodging.Lodging, "_attached", looking)

    one_gpu.predicted(lambda _: lambda rows: rows["x"], numbers(2))

    assert had
    assert [path for path in had if path.is_relative_to(state) and path.name.startswith("hold-")] == []
