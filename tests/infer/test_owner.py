"""The process that owns a model: one per device, fed by many, outliving tasks, never its executor."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from rigs.owners import Executor, by_value, numbers
from rigs.processes import assert_gone, eventually
from tritium.errors import CannotHold, Unplaceable
from tritium.infer.failure import Failure
from tritium.infer.link import addresses, connect
from tritium_discovery import drain, holds

pytestmark = pytest.mark.process
by_value(__name__)


class Counted:
    """Loads a model that doubles; each load leaves a file."""

    def __init__(self, folder: Path, load_s: float = 0.0, predict_s: float = 0.0) -> None:
        self.folder, self.load_s, self.predict_s = folder, load_s, predict_s

    def __call__(self, device: Any) -> Any:
        assert os.environ["CUDA_VISIBLE_DEVICES"] == (device.uuid if device is not None else "")
        (self.folder / str(os.getpid())).touch()
        time.sleep(self.load_s)

        def predict(rows: Any) -> Any:
            time.sleep(self.predict_s)
            return rows["x"] * 2

        return predict


def at_once(count: int, run: Any) -> list[Any]:
    """Run a function in so many threads, as tasks of one executor."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_a_model_is_loaded_once_per_device_however_many_tasks_feed_it(
    two_t4: Executor, tmp_path: Path, state: Path
) -> None:
    load = Counted(tmp_path, load_s=0.5, predict_s=0.01)

    for _ in range(2):
        found = at_once(8, lambda _: two_t4.predicted(load, numbers(10, 10, 3)))
        assert found == [[2 * n for n in range(23)]] * 8
        time.sleep(1)  # a gap between micro-batches

    assert len(list(tmp_path.iterdir())) == 2
    assert {holder.pid for (holder,) in holds.held(state).values()} == {p.pid for p in two_t4.owners()}
    assert len(holds.held(state)) == 2


def test_a_single_task_loads_one_model_and_the_next_finds_it(two_t4: Executor, tmp_path: Path) -> None:
    for _ in range(3):
        two_t4.predicted(Counted(tmp_path), numbers(5))

    assert len(list(tmp_path.iterdir())) == 1


def test_on_the_cpu_each_task_at_a_time_has_a_model_of_its_own(
    one_gpu: Executor, tmp_path: Path, state: Path
) -> None:
    def load(device: Any) -> Any:
        assert device is None
        (tmp_path / str(os.getpid())).touch()

        def predict(rows: Any) -> Any:
            eventually(lambda: len(list(tmp_path.iterdir())) == 3, limit_s=60)
            return rows["x"]

        return predict

    at_once(3, lambda _: one_gpu.predicted(load, numbers(5), gpu=0))
    one_gpu.predicted(load, numbers(5), gpu=0)

    assert len(list(tmp_path.iterdir())) == 3
    assert not holds.held(state)


def test_a_model_may_have_several_devices(two_t4: Executor) -> None:
    def load(devices: Any) -> Any:
        return lambda rows: np.full(len(rows["x"]), len(devices))

    assert two_t4.predicted(load, numbers(2), gpu=2) == [2, 2]


def test_owners_die_with_their_executor_in_the_middle_of_a_batch(one_gpu: Executor, state: Path) -> None:
    def load(_: Any) -> Any:
        import subprocess

        child = subprocess.Popen(["sleep", "600"])

        def predict(rows: Any) -> Any:
            time.sleep(600 if rows["x"][0] else 0)
            return np.full(len(rows["x"]), child.pid)

        return predict

    answers = one_gpu.feeder(load).answers(prepared(numbers(1, 1)))
    (child,) = next(answers).answer.values["y"]  # type: ignore[union-attr]  # it has one
    family = [psutil.Process(int(child)), *one_gpu.owners()]

    one_gpu.jvm.kill()

    assert len(family) == 2
    assert_gone(family, within_s=10)
    eventually(lambda: not holds.held(state))
    answers.close()  # type: ignore[attr-defined]  # it is a generator


def test_what_a_dead_owner_did_not_answer_goes_to_the_next(one_gpu: Executor, tmp_path: Path) -> None:
    def load(_: Any) -> Any:
        def predict(rows: Any) -> Any:
            if rows["x"][0] == 20 and not (tmp_path / "died").exists():
                (tmp_path / "died").touch()
                os._exit(1)
            return rows["x"]

        return predict

    assert one_gpu.predicted(load, numbers(10, 10, 10, 10, 10)) == list(range(50))
    assert (tmp_path / "died").exists()


def test_an_owner_that_hears_what_it_cannot_read_goes_on_for_the_others(
    one_gpu: Executor, tmp_path: Path
) -> None:
    load = Counted(tmp_path)
    answers = one_gpu.feeder(load, ahead=1).answers(prepared(numbers(10, 10, 10)))
    next(answers)
    (address,) = addresses(one_gpu.place.executor)
    link = connect(address, within_s=60)
    assert link is not None
    link.send(("attach", 2, "a0"))
    link.receive()

    link.socket.send(b"no message")

    assert link.receive()[0][0] == "loaded"
    with pytest.raises(EOFError):
        link.receive()
    link.close()
    assert [answered.fed.rows for answered in answers] == [10, 10]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_batch_that_kills_every_owner_fails_the_task(one_gpu: Executor) -> None:
    def load(_: Any) -> Any:
        return lambda _: os._exit(1)

    with pytest.raises(CannotHold, match="died 3 times over the same batch"):
        one_gpu.predicted(load, numbers(1))


def test_the_users_failures_come_to_the_task(one_gpu: Executor) -> None:
    def cannot_load(_: Any) -> Any:
        raise ValueError("no weights\nof any kind")

    def load(_: Any) -> Any:
        return lambda rows: rows["nothing"]

    with pytest.raises(Failure) as loading:
        one_gpu.predicted(cannot_load, numbers(1), keep_s=0)
    with pytest.raises(Failure) as returning:
        one_gpu.predicted(lambda _: None, numbers(1), keep_s=0)
    with pytest.raises(Failure) as predicting:
        one_gpu.predicted(load, numbers(1))

    assert loading.value.cause == "load failed: ValueError: no weights"
    assert returning.value.cause == "load failed: TypeError: it returned None, no function"
    assert predicting.value.cause == "predict failed: KeyError: 'nothing'"
    assert 'rows["nothing"]' in predicting.value.trace
    assert "tritium/infer" not in predicting.value.trace


def test_an_owner_without_tasks_leaves_after_its_time(one_gpu: Executor, tmp_path: Path, state: Path) -> None:
    one_gpu.predicted(Counted(tmp_path), numbers(1), keep_s=0.2)

    eventually(lambda: not one_gpu.owners())
    eventually(lambda: not holds.held(state))


def test_an_owner_that_is_asked_to_leave_does_and_the_rest_goes_to_another(
    one_gpu: Executor, tmp_path: Path, state: Path
) -> None:
    answers = one_gpu.feeder(Counted(tmp_path, predict_s=0.05)).answers(prepared(numbers(*[1] * 40)))
    first = [next(answers).fed.rows for _ in range(3)]
    (device,) = holds.held(state)

    asked = drain.ask(device, by="rank 0 of gang g", within_s=5, directory=state)

    assert len(asked) == 1
    assert sum(first) + sum(answered.fed.rows for answered in answers) == 40
    assert len(list(tmp_path.iterdir())) == 2


def test_an_idle_owner_gives_way_to_another_model_at_once(one_gpu: Executor, tmp_path: Path) -> None:
    for name in ("a", "b", "a"):
        (tmp_path / name).mkdir(exist_ok=True)
        assert one_gpu.predicted(Counted(tmp_path / name), numbers(2), wait_s=50) == [0, 2]

    assert len(list((tmp_path / "a").iterdir())) == 2
    assert len(list((tmp_path / "b").iterdir())) == 1


def test_a_device_that_somebody_else_has_is_waited_for_and_then_named(
    one_gpu: Executor, state: Path, tmp_path: Path
) -> None:
    from tritium.spark.inventory import task_view

    (device,) = task_view(None, environ=os.environ).inventory.devices
    with (
        holds.take([device.uuid], what="rank 0 of gang g", directory=state),
        pytest.raises(CannotHold, match=r"task 0 waited 1 s for a device: .*rank 0 of gang g"),
    ):
        one_gpu.predicted(Counted(tmp_path), numbers(1), wait_s=1)


def test_more_devices_than_there_are_are_refused(one_gpu: Executor, tmp_path: Path) -> None:
    with pytest.raises(Unplaceable):
        one_gpu.predicted(Counted(tmp_path), numbers(1), gpu=2)


def test_no_more_batches_than_agreed_are_on_their_way(one_gpu: Executor, tmp_path: Path) -> None:
    made = 0

    def counted() -> Iterator[Any]:
        nonlocal made
        for batch in numbers(*[1] * 50):
            made += 1
            yield batch

    answers = one_gpu.feeder(Counted(tmp_path), ahead=2).answers(prepared(counted()))
    next(answers)
    time.sleep(1)

    # Two have places, and one more is ready and waits for one.
    assert made == 3
    answers.close()  # type: ignore[attr-defined]  # it is a generator


def prepared(batches: Any) -> Any:
    from tritium.infer.prepare import Prepare

    return Prepare(columns=("x",), preprocess=None, quarantine=False).feed(batches)
