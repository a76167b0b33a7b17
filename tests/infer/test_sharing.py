"""Models that share a device: an owner for each share, never more than the device has, and all give way."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rigs.owners import Executor, by_value, executor, numbers
from rigs.processes import eventually
from tritium.errors import CannotHold, Unplaceable
from tritium.spark.inventory import task_view
from tritium_discovery import Device, drain, holds

pytestmark = pytest.mark.process
by_value(__name__)


class Named:
    """A model that is told from others by its name; each load leaves a file with its device and its share."""

    def __init__(self, name: str, folder: Path, predict_s: float = 0.0) -> None:
        self.name, self.folder, self.predict_s = name, folder, predict_s

    def __call__(self, device: Device) -> Any:
        share = os.environ.get("TRITIUM_SHARE_MIB", "none")
        (self.folder / f"{self.name} {os.getpid()}").write_text(f"{device.uuid} {share}")

        def predict(rows: Any) -> Any:
            time.sleep(self.predict_s)
            return rows["x"]

        return predict


def loads(folder: Path, name: str) -> list[list[str]]:
    return [path.read_text().split() for path in sorted(folder.glob(f"{name} *"))]


def here() -> tuple[Device, ...]:
    return task_view(None, environ=os.environ).inventory.devices


def mib_held(directory: Path) -> list[int | None]:
    return [holder.mib for having in holds.held(directory).values() for holder in having]


def test_two_models_share_a_device_and_each_is_told_its_share(
    one_gpu: Executor, tmp_path: Path, state: Path
) -> None:
    (device,) = here()

    for name, share_mib in (("a", 8_000), ("b", 6_000)):
        assert one_gpu.predicted(Named(name, tmp_path), numbers(3), share_mib=share_mib) == [0, 1, 2]

    assert mib_held(state) == [6_000, 8_000]
    assert loads(tmp_path, "a") == [[device.uuid, "8000"]]
    assert loads(tmp_path, "b") == [[device.uuid, "6000"]]
    assert {one.pid for having in holds.held(state).values() for one in having} == {
        process.pid for process in one_gpu.owners()
    }


def test_a_model_with_a_device_of_its_own_is_told_no_share(one_gpu: Executor, tmp_path: Path) -> None:
    one_gpu.predicted(Named("a", tmp_path), numbers(1))

    assert loads(tmp_path, "a") == [[here()[0].uuid, "none"]]


def test_a_model_is_loaded_once_per_device_however_many_shares_of_it_would_fit(
    two_t4: Executor, tmp_path: Path, state: Path
) -> None:
    model = Named("a", tmp_path, predict_s=0.01)

    with ThreadPoolExecutor(6) as pool:
        found = list(
            pool.map(lambda _: two_t4.predicted(model, numbers(*[5] * 10), share_mib=1_000), range(6))
        )

    assert found == [list(range(50))] * 6
    assert sorted(uuid for uuid, _ in loads(tmp_path, "a")) == sorted(device.uuid for device in here())
    assert mib_held(state) == [1_000, 1_000]


def test_a_share_that_does_not_fit_takes_another_device(two_t4: Executor, tmp_path: Path) -> None:
    one, other = here()
    for name in ("a", "b", "c"):
        two_t4.predicted(Named(name, tmp_path), numbers(1), share_mib=one.memory_mib // 2)

    devices = [loads(tmp_path, name)[0][0] for name in ("a", "b", "c")]
    assert devices[0] == devices[1]
    assert {devices[0], devices[2]} == {one.uuid, other.uuid}


def test_a_share_that_does_not_fit_is_waited_for_and_then_all_holders_are_named(
    one_gpu: Executor, tmp_path: Path, state: Path
) -> None:
    (device,) = here()
    with (
        holds.take_share(device.uuid, 8_000, of_mib=16_376, what="digits", directory=state),
        holds.take_share(device.uuid, 6_000, of_mib=16_376, what="faces", directory=state),
        pytest.raises(CannotHold) as refused,
    ):
        one_gpu.predicted(Named("a", tmp_path), numbers(1), share_mib=4_000, wait_s=1)

    me = f"(pid {os.getpid()})"
    assert str(refused.value) == (
        f"task 0 waited 1 s for a device: {device.uuid}: 2376 MiB left besides digits {me} (8000 MiB), "
        f"faces {me} (6000 MiB), 4000 needed"
    )


def test_a_share_of_a_device_that_is_held_whole_waits_for_its_holder(
    one_gpu: Executor, tmp_path: Path, state: Path
) -> None:
    (device,) = here()
    with (
        holds.take([device.uuid], what="rank 0 of gang g", directory=state),
        pytest.raises(CannotHold, match=r"held by rank 0 of gang g \(pid \d+\)$"),
    ):
        one_gpu.predicted(Named("a", tmp_path), numbers(1), share_mib=4_000, wait_s=1)


def test_a_share_larger_than_every_device_is_refused_at_once(one_gpu: Executor, tmp_path: Path) -> None:
    with pytest.raises(Unplaceable, match="16376 MiB, 16377 needed"):
        one_gpu.predicted(Named("a", tmp_path), numbers(1), share_mib=16_377)


def test_memory_of_somebody_unknown_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = tmp_path / "used.yaml"
    card = 'product: NVIDIA RTX A4000, memory_mib: 16376, capability: "8.6"'
    cards = 'cards:\n  - {bus: "00000000:01:00.0", numa: -1, pcie: n0/h0}\n'
    machine.write_text(f"about: Its memory is used\ncard: {{{card}, used_mib: 14000}}\n{cards}")
    model = Named("a", tmp_path)
    with executor(monkeypatch, machine=str(machine)) as found, ThreadPoolExecutor(1) as pool:
        with pytest.raises(CannotHold, match=r"waited 1 s for a device: .*: 2376 MiB left, 4000 needed$"):
            found.predicted(model, numbers(1), share_mib=4_000, wait_s=1)
        waiting = pool.submit(found.predicted, model, numbers(1), share_mib=4_000, wait_s=30)
        time.sleep(1)

        used = machine.with_suffix(".new")
        used.write_text(f"about: Its memory is free\ncard: {{{card}}}\n{cards}")
        used.rename(machine)

        assert waiting.result(60) == [0]


def test_an_owner_that_is_killed_loses_its_share_and_no_other(
    one_gpu: Executor, tmp_path: Path, state: Path
) -> None:
    for name, share_mib in (("a", 8_000), ("b", 6_000)):
        one_gpu.predicted(Named(name, tmp_path), numbers(1), share_mib=share_mib)
    a, b = (holds.held(state)[here()[0].uuid][at].pid for at in (1, 0))

    os.kill(a, signal.SIGKILL)
    eventually(lambda: mib_held(state) == [6_000])
    for name, share_mib in (("a", 8_000), ("b", 6_000)):
        one_gpu.predicted(Named(name, tmp_path), numbers(1), share_mib=share_mib)

    assert mib_held(state) == [6_000, 8_000]
    assert [len(loads(tmp_path, name)) for name in ("a", "b")] == [2, 1]
    assert b in {process.pid for process in one_gpu.owners()}


def test_all_who_share_a_device_give_way_and_go_on_afterwards(
    one_gpu: Executor, tmp_path: Path, state: Path
) -> None:
    (device,) = here()
    models = {name: Named(name, tmp_path, predict_s=0.05) for name in ("a", "b")}

    with ThreadPoolExecutor(2) as pool:
        running = [
            pool.submit(one_gpu.predicted, model, numbers(*[1] * 60), share_mib=8_000)
            for model in models.values()
        ]
        eventually(lambda: all(loads(tmp_path, name) for name in models), limit_s=30)
        asked = drain.ask(device.uuid, by="gang g", within_s=5.0, priority=1, directory=state)
        eventually(lambda: not holds.held(state), limit_s=20)
        found = [future.result(60) for future in running]

    assert len(asked) == 2
    assert found == [list(range(60))] * 2
    assert [len(loads(tmp_path, name)) for name in models] == [2, 2]


def test_a_more_important_model_asks_as_few_sharers_as_will_do(
    one_gpu: Executor, tmp_path: Path, state: Path
) -> None:
    for name, share_mib in (("a", 8_000), ("b", 6_000)):
        one_gpu.predicted(Named(name, tmp_path), numbers(1), share_mib=share_mib)

    one_gpu.predicted(Named("c", tmp_path), numbers(1), share_mib=7_000, priority=1)

    assert sorted(filter(None, mib_held(state))) == [6_000, 7_000]
