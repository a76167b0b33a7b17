"""Owners that stand still, hang, or are broken by rows: nothing waits for ever, nothing else is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rigs.owners import Executor, by_value, numbers
from rigs.processes import assert_gone, assert_pid_gone, eventually
from tritium.errors import CannotHold
from tritium.infer import lodging, vigil
from tritium.infer.failure import Failure
from tritium.infer.link import connect
from tritium.infer.prepare import Prepare
from tritium.train import cpus, sweep
from tritium_discovery import holds

pytestmark = pytest.mark.process
by_value(__name__)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits half a minute for who stands still."""
    monkeypatch.setattr(vigil.Vigil, "listens_s", 0.3)
    monkeypatch.setattr(vigil, "_STOPPED_S", 0.6)
    monkeypatch.setattr(lodging, "_SILENT_S", 1.0)


def outcome(found: Executor, load: Any, *rows: int, **options: Any) -> tuple[list[Any], list[int]]:
    """Be one task that puts up with bad rows: its answers in order, and the rows that were bad."""
    answers: list[Any] = []
    bad: list[int] = []
    begin = 0
    feed = Prepare(columns=("x",), preprocess=None, quarantine=True).feed(numbers(*rows))
    for answered in found.feeder(load, quarantine=True, **options).answers(feed):
        assert answered.answer is not None
        answers += [int(y) for y in answered.answer.values.get("y", ())]
        bad += [begin + one.row for one in answered.answer.bad]
        begin += answered.fed.rows
    return answers, bad


def breaking(folder: Path, *poison: int) -> Callable[[Any], Any]:
    """A model on a device that some rows break, as they do CUDA: nothing works in its process after them."""

    def load(_: Any) -> Any:
        (folder / str(os.getpid())).touch()
        dead = False

        def predict(rows: Any) -> Any:
            nonlocal dead
            dead = dead or bool({*rows["x"].tolist()} & {*poison})
            if dead:
                raise RuntimeError("CUDA error: device-side assert triggered")
            return rows["x"]

        return predict

    return load


def test_what_a_stopped_owner_does_not_answer_goes_to_the_next(one_gpu: Executor, tmp_path: Path) -> None:
    def load(_: Any) -> Any:
        def predict(rows: Any) -> Any:
            if rows["x"][0] == 20 and not (tmp_path / "stopped").exists():
                (tmp_path / "stopped").touch()
                os.kill(os.getpid(), signal.SIGSTOP)
            return rows["x"]

        return predict

    assert one_gpu.predicted(load, numbers(10, 10, 10, 10, 10)) == list(range(50))
    assert (tmp_path / "stopped").exists()
    assert len(one_gpu.owners()) == 1


def test_an_owner_that_was_stopped_before_a_task_came_is_ended_by_it(one_gpu: Executor) -> None:
    def load(_: Any) -> Any:
        return lambda rows: rows["x"]

    one_gpu.predicted(load, numbers(3))
    (stopped,) = one_gpu.owners()
    stopped.suspend()

    assert one_gpu.predicted(load, numbers(3)) == [0, 1, 2]
    assert_gone([stopped], within_s=5)


def test_who_calls_and_says_nothing_keeps_no_other_task_waiting(one_gpu: Executor) -> None:
    assert one_gpu.predicted(lambda _: lambda rows: rows["x"], numbers(1)) == [0]
    (address,) = one_gpu.sockets()
    silent, other = (connect(address, within_s=5) for _ in range(2))
    assert silent is not None
    assert other is not None

    other.send(("attach", 1, "a0"))

    (word, _), _ = other.receive()
    assert word == "welcome"
    silent.close()
    other.close()


def test_an_owner_that_only_is_slow_to_answer_is_not_ended(one_gpu: Executor) -> None:
    def load(_: Any) -> Any:
        import ctypes

        deaf = ctypes.PyDLL(None)  # unlike CDLL it keeps all of Python waiting

        def predict(rows: Any) -> Any:
            deaf.usleep(2_500_000)
            return rows["x"]

        return predict

    with ThreadPoolExecutor(2) as tasks:
        first = tasks.submit(one_gpu.predicted, load, numbers(2, 2))
        eventually(lambda: len(one_gpu.owners()) == 1, limit_s=30)
        second = tasks.submit(one_gpu.predicted, load, numbers(2))

        assert first.result() == [0, 1, 2, 3]
        assert second.result() == [0, 1]
    assert len(one_gpu.owners()) == 1


@pytest.mark.parametrize("where", ["load", "predict"])
def test_what_hangs_fails_with_the_line_that_it_hangs_in(one_gpu: Executor, state: Path, where: str) -> None:
    def load(_: Any) -> Any:
        def the_lock_that_nobody_gives_back() -> None:
            time.sleep(600)

        def predict(_: Any) -> Any:
            the_lock_that_nobody_gives_back()

        if where == "load":
            the_lock_that_nobody_gives_back()
        return predict

    with pytest.raises(Failure) as caught:
        one_gpu.predicted(load, numbers(3), limit_s=1.5)

    assert caught.value.cause == f"{where} failed: TimeoutError: no answer within 1.5 s (model_timeout_s)"
    assert "the_lock_that_nobody_gives_back" in caught.value.trace
    assert "owner.py" not in caught.value.trace
    eventually(lambda: not one_gpu.owners() and not holds.held(state), limit_s=10)


def test_a_call_that_keeps_all_of_python_waiting_is_ended_too(one_gpu: Executor, state: Path) -> None:
    def load(_: Any) -> Any:
        import ctypes

        return lambda _: ctypes.PyDLL(None).sleep(600)

    with pytest.raises(CannotHold, match="died 3 times over the same batch"):
        one_gpu.predicted(load, numbers(3), limit_s=0.7)

    eventually(lambda: not one_gpu.owners() and not holds.held(state), limit_s=10)


def test_one_that_even_a_kill_does_not_end_is_left(
    one_gpu: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(_: Any) -> Any:
        def predict(_: Any) -> Any:
            os.kill(os.getpid(), signal.SIGSTOP)

        return predict

    # As one that waits in a driver for a device that never answers.
    monkeypatch.setattr(sweep, "end_family", lambda _: None)

    try:
        with pytest.raises(CannotHold, match=r"waited 1 s for a device: .* is held by owner of a model"):
            one_gpu.predicted(load, numbers(3), limit_s=1.5, wait_s=1)
    finally:
        for owner in one_gpu.owners():
            owner.kill()


class Imported:
    """What takes for ever to unpickle, as a module does on a disk that hangs."""

    def __reduce__(self) -> Any:
        return time.sleep, (600,)

    def __call__(self, device: Any) -> Any:
        """Never come so far."""


def test_an_import_that_hangs_is_a_load_that_hangs(one_gpu: Executor) -> None:
    with pytest.raises(Failure) as caught:
        one_gpu.predicted(Imported(), numbers(3), limit_s=1.5)

    assert caught.value.cause == "load failed: TimeoutError: no answer within 1.5 s (model_timeout_s)"


def test_the_time_limit_is_for_one_call_and_not_for_all_that_search_a_batch(one_gpu: Executor) -> None:
    def load(_: Any) -> Any:
        def predict(rows: Any) -> Any:
            time.sleep(0.2)
            if (rows["x"] % 4 == 0).any():
                raise ValueError("every fourth")
            return rows["x"]

        return predict

    answers, bad = outcome(one_gpu, load, 16, limit_s=1.5)

    assert bad == [0, 4, 8, 12]
    assert answers == [row for row in range(16) if row not in bad]


@pytest.mark.parametrize("how", ["exits", "keeps all of Python waiting"])
def test_a_row_that_ends_its_owner_without_a_word_is_found_too(one_gpu: Executor, how: str) -> None:
    def load(_: Any) -> Any:
        import ctypes

        def predict(rows: Any) -> Any:
            if 2 in rows["x"]:
                os._exit(9) if how == "exits" else ctypes.PyDLL(None).sleep(600)
            return rows["x"]

        return predict

    assert outcome(one_gpu, load, 4, 4, limit_s=0.7) == ([0, 1, 3, 4, 5, 6, 7], [2])


def test_a_row_that_hangs_is_found_where_bad_rows_are_put_up_with(one_gpu: Executor) -> None:
    def load(_: Any) -> Any:
        def predict(rows: Any) -> Any:
            if 3 in rows["x"]:
                time.sleep(600)
            return rows["x"]

        return predict

    assert outcome(one_gpu, load, 4, 4, limit_s=1) == ([0, 1, 2, 4, 5, 6, 7], [3])


def test_rows_that_break_the_device_are_found_by_one_owner_after_the_other(
    one_gpu: Executor, tmp_path: Path
) -> None:
    answers, bad = outcome(one_gpu, breaking(tmp_path, 5, 17), 8, 8, 8, 8)

    assert bad == [5, 17]
    assert answers == [row for row in range(32) if row not in bad]
    # The way down to a row of eight breaks four owners.
    assert len(list(tmp_path.iterdir())) == 1 + 2 * 4


def test_an_owner_that_is_broken_goes_at_once_whatever_threads_it_has(
    one_gpu: Executor, tmp_path: Path
) -> None:
    inner = breaking(tmp_path, 1)

    def load(device: Any) -> Any:
        import threading

        threading.Thread(target=time.sleep, args=(600,)).start()
        return inner(device)

    assert outcome(one_gpu, load, 4, 4) == ([0, 2, 3, 4, 5, 6, 7], [1])


def test_a_task_beside_one_whose_rows_break_the_device_loses_nothing(
    one_gpu: Executor, tmp_path: Path
) -> None:
    load = breaking(tmp_path, 90, 91)

    with ThreadPoolExecutor(2) as tasks:
        bad = tasks.submit(outcome, one_gpu, load, *[10] * 10)
        good = [tasks.submit(outcome, one_gpu, load, *[5] * 16) for _ in range(1)]

        assert bad.result()[1] == [90, 91]
        assert [one.result() for one in good] == [(list(range(80)), [])]


def test_a_device_that_does_nothing_at_all_fails_the_task_soon(one_gpu: Executor, tmp_path: Path) -> None:
    with pytest.raises(Failure, match="predict failed: RuntimeError: CUDA error: device-side assert"):
        outcome(one_gpu, breaking(tmp_path, *range(1000)), 4, 4, 4, 4, 4)

    assert len(list(tmp_path.iterdir())) == 17


def test_where_no_row_may_be_bad_an_owner_that_is_broken_says_so_and_goes(
    one_gpu: Executor, tmp_path: Path, state: Path
) -> None:
    load = breaking(tmp_path, 5)

    with pytest.raises(Failure, match="CUDA error"):
        one_gpu.predicted(load, numbers(8))
    eventually(lambda: not holds.held(state), limit_s=10)

    assert one_gpu.predicted(load, numbers(4)) == [0, 1, 2, 3]


def test_an_owner_has_its_part_of_the_cores_and_on_the_cpu_the_threads_of_a_task(
    one_gpu: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(_: Any) -> Any:
        return lambda rows: [int(os.environ["OMP_NUM_THREADS"])] * len(rows["x"])

    monkeypatch.setenv("OMP_NUM_THREADS", "7")

    assert one_gpu.predicted(load, numbers(1)) == [cpus.usable()]
    assert one_gpu.predicted(load, numbers(1), gpu=0) == [7]


def test_what_was_started_by_a_model_that_hangs_goes_with_it(one_gpu: Executor, tmp_path: Path) -> None:
    def load(_: Any) -> Any:
        import subprocess

        child = subprocess.Popen(["sleep", "600"])
        (tmp_path / "child").write_text(str(child.pid))
        time.sleep(600)

    with pytest.raises(Failure):
        one_gpu.predicted(load, numbers(1), limit_s=1)

    assert_pid_gone(int((tmp_path / "child").read_text()), within_s=10)
