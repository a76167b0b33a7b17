"""Where Spark schedules no GPU, tasks share the host's free devices, and only holds keep them apart."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark import cloudpickle
from pyspark.sql import SparkSession

import tritium
from rigs.application import Application
from rigs.cluster import local
from rigs.processes import eventually
from rigs.uses import assert_never_shared
from tritium.assign import Assigned
from tritium.infer import read_reports
from tritium.spark.profile import resource_profile
from tritium_discovery import claims, holds

pytestmark = pytest.mark.spark
cloudpickle.register_pickle_by_value(sys.modules[__name__])

DRIVER = Path(__file__).with_name("predicting_driver.py")


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    with local(2, machine="two-t4") as session:
        yield session


def name(device: Any) -> Any:
    import time

    def predict(batch: Any) -> Any:
        time.sleep(0.5)
        return [device.uuid] * len(batch["id"])

    return predict


def test_local_threads_share_the_devices_of_the_emulated_machine(spark: SparkSession, state: Path) -> None:
    assert resource_profile(spark, gpus=1) is None

    rows = spark.range(0, 8, 1, 4)
    out = tritium.predict(rows, model=name, output="uuid string", keep_s=0).collect()

    assert len({row.uuid for row in out}) == 2
    eventually(lambda: not holds.held(state), limit_s=30)
    assert not claims.live(state)


def test_a_task_without_a_grant_may_ask_for_several(spark: SparkSession) -> None:
    def count(_: Any) -> list[str]:
        with tritium.devices(2) as devices:
            return [device.product for device in devices]

    products = spark.sparkContext.parallelize(range(2), 2).map(count).collect()

    assert products == [["Tesla T4", "Tesla T4"]] * 2


def test_two_applications_on_one_host_never_hold_the_same_device(tmp_path: Path, state: Path) -> None:
    environment = {
        "TRITIUM_DIR": str(state),
        "TRITIUM_MACHINE": "two-t4",
        "PYSPARK_PYTHON": sys.executable,
    }
    with (
        Application(DRIVER, str(tmp_path / "a"), environment=environment) as one,
        Application(DRIVER, str(tmp_path / "b"), environment=environment) as two,
    ):
        began = [application.says("began") for application in (one, two)]
        assert [application.says("rows") for application in (one, two)] == [60, 60]

    reports = [report for part in ("a", "b") for report in read_reports(tmp_path / part)]
    assert len(reports) == 12
    served: dict[tuple[str, int], list[float]] = {}
    for report in reports:
        loaded = report.began + report.load_s
        served.setdefault((str(report.device), report.owner), []).extend((loaded, loaded + report.seconds))
    assert_never_shared((device, min(times), max(times)) for (device, _), times in served.items())
    ended = (report.began + report.load_s + report.seconds for report in reports)
    assert max(began) < max(ended), "they ran at the same time"


def test_a_request_is_explained_by_the_devices_that_the_driver_sees(spark: SparkSession) -> None:
    told = tritium.explain(spark, tritium.Request(members=2))

    assert isinstance(told.decision, Assigned)
    assert {member.pool for member in told.decision.placement.members} == {"driver"}
