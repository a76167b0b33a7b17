"""Jobs that run at the same time on one host, in one application and in two, never hold the same device."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark import cloudpickle
from pyspark.sql import SparkSession

import tritium
from rigs.application import Application
from rigs.processes import eventually
from tritium.errors import GangCancelled, Unplaceable
from tritium_discovery import Uuid, claims, drain, holds

pytestmark = [pytest.mark.spark, pytest.mark.usefixtures("spark")]
cloudpickle.register_pickle_by_value(sys.modules[__name__])

PROGRAM = Path(__file__).with_name("sleeping_gang.py")
INFERENCE = Path(__file__).with_name("sleeping_inference.py")
OVERLAP_S = 4.0

Use = tuple[str, float, float]
"""A device, and from when to when it was used."""


def use() -> list[Use]:
    began = time.time()
    time.sleep(OVERLAP_S)
    return [(device.uuid, began, time.time()) for device in tritium.rank().devices]


def run_gang(found: list[Use]) -> None:
    for value in tritium.Gang(ranks=2, gpus_per_rank=2, policy="packed").run(use).values:
        found.extend(value)


def slow_model(device: Any) -> Callable[..., Any]:
    began = time.time()
    uuid = device.uuid

    def predict(batch: Any) -> Any:
        import numpy as np

        time.sleep(OVERLAP_S)
        rows = len(batch["id"])
        ended = np.full(rows, time.time())
        return {"uuid": np.full(rows, uuid, object), "began": np.full(rows, began), "ended": ended}

    return predict


def run_inference(spark: SparkSession, found: list[Use]) -> None:
    frame = tritium.predict(
        spark.range(0, 2, 1, 2), model=slow_model, output="uuid string, began double, ended double"
    )
    found.extend((row.uuid, row.began, row.ended) for row in frame.collect())


def together(*jobs: Callable[[], None]) -> None:
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)


def assert_never_shared(left: list[Use], right: list[Use]) -> None:
    overlaps = [(a, b) for a in left for b in right if a[1] < b[2] and b[1] < a[2]]
    assert overlaps, "the jobs did not run at the same time"
    assert not [(a, b) for a, b in overlaps if a[0] == b[0]]


def test_two_gangs_in_one_application_never_share_a_device() -> None:
    left: list[Use] = []
    right: list[Use] = []

    together(lambda: run_gang(left), lambda: run_gang(right))

    assert len({use[0] for use in left}) == len({use[0] for use in right}) == 4
    assert_never_shared(left, right)


def test_a_gang_and_an_inference_job_in_one_application_never_share_a_device(spark: SparkSession) -> None:
    gang: list[Use] = []
    inference: list[Use] = []

    together(lambda: run_gang(gang), lambda: run_inference(spark, inference))

    assert len(gang) == 4
    assert len(inference) == 2
    assert_never_shared(gang, inference)


def test_gangs_in_two_applications_on_one_host_never_share_a_device(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    environment = {"TRITIUM_DIR": str(tmp_path)}
    with (
        Application(PROGRAM, "2", environment=environment) as left,
        Application(PROGRAM, "2", environment=environment) as right,
    ):
        left.says("ready")
        right.says("ready")

        held = holds.held(tmp_path)
        claimed = [[device.uuid for device in claim.devices] for claim in claims.live(tmp_path)]

    assert len(held) == 4
    assert (
        sorted(holder.what.split(" of ")[0] for (holder,) in held.values()) == ["rank 0"] * 2 + ["rank 1"] * 2
    )
    assert [len(devices) for devices in claimed] == [2, 2, 2, 2]
    assert len({uuid for devices in claimed for uuid in devices}) == 8


def test_a_gang_and_an_inference_job_in_two_applications_never_share_a_device(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    environment = {"TRITIUM_DIR": str(tmp_path)}
    with (
        Application(PROGRAM, "2", environment=environment) as gang,
        Application(INFERENCE, environment=environment) as inference,
    ):
        gang.says("ready")
        inference.says("begins")

        eventually(lambda: len(holds.held(tmp_path)) == 4, limit_s=60)
        held = holds.held(tmp_path)
        claimed = [{device.uuid for device in claim.devices} for claim in claims.live(tmp_path)]

    ranks = {uuid for uuid, (holder,) in held.items() if holder.what.startswith("rank")}
    owners = {uuid: at for at, devices in enumerate(claimed) for uuid in devices}
    assert len(ranks) == 2
    assert [len(devices) for devices in claimed] == [2, 2, 2, 2]
    assert len(owners) == 8
    assert not {owners[uuid] for uuid in ranks} & {owners[uuid] for uuid in held.keys() - ranks}


def test_a_device_that_another_process_holds_is_left_alone(state: Path) -> None:
    taken = Uuid(tritium.Gang(ranks=1).run(use).values[0][0][0])

    with holds.take([taken], what="somebody else", directory=state):
        uses = [value[0] for value in tritium.Gang(ranks=2).run(use).values]

    assert taken not in {use[0] for use in uses}


def hold_out(witnesses: str, *, deaf: bool) -> list[str]:
    """Hold a lock per device, as long as any process of the rank lives; returns those somebody else had."""
    import fcntl
    import os
    import signal
    import subprocess

    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    taken = []
    locks = [os.open(f"{witnesses}/{d.uuid}", os.O_RDWR | os.O_CREAT) for d in tritium.rank().devices]
    for lock, device in zip(locks, tritium.rank().devices, strict=True):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            taken.append(str(device.uuid))
    if deaf:
        subprocess.Popen(["sleep", "300"], start_new_session=True, pass_fds=locks)
        tritium.rank().report(ready=True)
        time.sleep(300)
    return taken


def test_who_asks_for_the_devices_of_a_cancelled_gang_in_the_same_moment_waits_until_they_are_free(
    spark: SparkSession, tmp_path: Path
) -> None:
    gang = tritium.Gang(ranks=4, gpus_per_rank=2)
    ready: list[int] = []
    all_ready = threading.Event()

    def hear(rank: int, _: object) -> None:
        ready.append(rank)
        if len(ready) == 4:
            all_ready.set()

    def run() -> None:
        with pytest.raises(GangCancelled):
            gang.run(hold_out, on_report=hear, witnesses=str(tmp_path), deaf=True)

    first = threading.Thread(target=run)
    first.start()
    assert all_ready.wait(120)

    spark.sparkContext.cancelAllJobs()
    values = gang.run(hold_out, witnesses=str(tmp_path), deaf=False).values

    first.join(60)
    assert values == ([], [], [], []), "the first gang's processes still had these"
    assert len(list(tmp_path.iterdir())) == 8


def give_way(drainable: drain.Drainable, hold: holds.Hold, asked: list[str]) -> None:
    while (ask := drainable.asked()) is None:
        time.sleep(0.05)
    asked.append(ask.by)
    hold.close()


def test_a_gang_that_needs_the_devices_of_a_models_owner_asks_it_to_give_way(state: Path) -> None:
    every = {value[0][0] for value in tritium.Gang(ranks=8, name="look").run(use).values}
    asked: list[str] = []
    hold = holds.take(sorted(map(Uuid, every))[:1], what="about to load", directory=state)
    drainable = drain.Drainable(hold.filenos, what="owner of a model", drain_s=5.0)
    owner = threading.Thread(target=give_way, args=[drainable, hold, asked])
    owner.start()

    values = tritium.Gang(ranks=8, name="train").run(use).values

    owner.join(5)
    assert {value[0][0] for value in values} == every
    assert asked[0].startswith("gang train-")


def test_a_holder_that_does_not_give_way_is_named_when_the_wait_is_over(state: Path) -> None:
    every = {value[0][0] for value in tritium.Gang(ranks=8).run(use).values}

    with (
        holds.take(sorted(map(Uuid, every))[:1], what="a stubborn owner", directory=state),
        pytest.raises(Unplaceable) as caught,
    ):
        tritium.Gang(ranks=8, launch_timeout_s=4).run(use)

    assert "a stubborn owner (pid " in str(caught.value)
