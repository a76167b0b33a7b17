"""Applications come and go on one host, and in one JVM: claims neither collapse into one nor stay behind."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import pytest
from pyspark import SparkContext

import tritium
from rigs.application import Application
from rigs.cluster import cluster
from tritium.errors import SparkFailed
from tritium.spark.environment import changed
from tritium.spark.jvm import Jvm, work_folder
from tritium.spark.profile import resource_profile
from tritium_discovery import claims, holds

pytestmark = pytest.mark.spark

DRIVER = Path(__file__).with_name("waiting_driver.py")


def claimed(state: Path) -> list[str]:
    return sorted(device.uuid for claim in claims.live(state) for device in claim.devices)


def test_two_applications_at_once_own_different_devices(tmp_path: Path, state: Path) -> None:
    tmp_path.chmod(0o700)
    environment = {"TRITIUM_DIR": str(state)}
    with Application(DRIVER, "2", environment=environment) as one:
        first = one.says("pools")
        with Application(DRIVER, "2", environment=environment) as two:
            second = two.says("pools")
            owned = [uuid for pools in (first, second) for pool in pools for uuid in pool]

            assert [len(pool) for pool in (*first, *second)] == [2, 2, 2, 2]
            assert sorted(owned) == claimed(state)
            with pytest.raises(SparkFailed, match=r"2 devices wanted, 0 of 8 may be used.*claimed by claim"):
                tritium.session("dgx-a100", gpus=1)
            two.tell("stop")
            two.says("stopped")
        assert claimed(state) == sorted(uuid for pool in first for uuid in pool), "only its own were released"
        one.tell("stop")
        one.says("stopped")
    assert not claimed(state)


def test_two_sessions_one_after_the_other_in_one_jvm_leave_no_claims(state: Path) -> None:
    pids = []
    for _ in range(2):
        with cluster(name="again") as session:
            pids.append(Jvm.pid())
            assert len(claims.live(state)) == 2
            assert len(set(claimed(state))) == 8
            work = work_folder() / session.sparkContext.applicationId
            # Any session object may be told to stop.
            assert session.newSession().sparkContext is session.sparkContext
            session.newSession().stop()
        assert not claims.live(state)
        assert not work.exists()

    assert pids[0] == pids[1]


def test_claims_that_a_dead_application_left_in_the_jvm_are_released_first(state: Path) -> None:
    with cluster(name="again") as session:
        SparkContext.stop(session.sparkContext)  # past our own clearing up
        assert len(claims.live(state)) == 2
    with cluster(name="again"):
        assert len(claims.live(state)) == 2


@pytest.mark.parametrize(
    ("machine", "options", "sentence"),
    [
        ("no-driver", {}, r"^Spark cannot have its GPUs: the NVIDIA driver is not loaded"),
        ("dgx-a100", {"gpus": 5}, r"^Spark cannot have its GPUs: 10 devices wanted, 8 of 8 may be used"),
        ("one-gpu", {}, r"^Spark cannot have its GPUs: 2 Workers, 1 devices"),
        ("dgx-b99", {}, r"^Spark cannot have its GPUs: .*dgx-b99"),
    ],
)
def test_a_worker_whose_discovery_would_fail_is_one_sentence(
    machine: str, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SparkFailed, match=sentence) as caught:
        tritium.session(machine, **options)

    assert "\n" not in str(caught.value)


def test_a_jvm_that_a_worker_ended_is_one_sentence_and_the_next_session_starts(state: Path) -> None:
    script = {"spark.worker.resource.gpu.discoveryScript": "/bin/false"}

    with pytest.raises(
        SparkFailed, match=r"^Spark did not start: .*Worker: Failed to setup worker resources"
    ):
        tritium.session("dgx-a100", conf=script)

    with cluster(workers=1, gpus=1) as session:
        assert session.range(3).count() == 3
        assert len(claimed(state)) == 1


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # pyspark leaves the pipe of a JVM that did not start
def test_a_setting_that_spark_refuses_is_one_sentence() -> None:
    with pytest.raises(SparkFailed, match="Executor memory must be a positive number") as caught:
        tritium.session("dgx-a100", conf={"spark.executor.memory": "much"})

    assert "\n" not in str(caught.value)
    del caught
    gc.collect()


def test_a_cluster_without_gpus_claims_none_and_the_environment_is_as_before(
    state: Path, tmp_path: Path
) -> None:
    before = dict(os.environ)
    with changed({"PYSPARK_PYTHON": "python-of-another-place"}):
        with cluster(gpus=0, workers=1, log=tmp_path / "driver.log") as session:
            assert session.range(0, 4, 1, 4).rdd.map(lambda row: row.id).sum() == 6
            assert resource_profile(session, gpus=1) is None
            assert not claims.live(state)
        assert os.environ["PYSPARK_PYTHON"] == "python-of-another-place"

    assert dict(os.environ) == before
    assert (tmp_path / "driver.log").exists()
    assert not holds.held(state)
