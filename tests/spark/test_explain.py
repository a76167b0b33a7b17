"""What a running application answers: from the devices of its executors, and nothing is taken."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

import tritium
from tritium import cli
from tritium.assign import Assigned, Unassignable, Waiting
from tritium.errors import TooSlow
from tritium_discovery import claims, holds

pytestmark = pytest.mark.spark


def test_all_executors_are_seen_with_what_their_worker_gave_them(spark: SparkSession, state: Path) -> None:
    seen = tritium.snapshot(spark)

    (host,) = seen.hosts
    owned = {device.uuid for claim in claims.live(state) for device in claim.devices}
    assert [(pool.name, len(pool.devices), pool.seats) for pool in host.pools] == [
        ("executor 0", 4, None),
        ("executor 1", 4, None),
    ]
    assert {device.uuid for pool in host.pools for device in pool.devices} == owned
    assert len(host.links) == 28


def test_what_fits_is_what_a_gang_then_gets(spark: SparkSession) -> None:
    gang = tritium.Gang(ranks=8)

    told = tritium.explain(spark, gang.request)

    assert isinstance(told.decision, Assigned)
    wanted = {uuid for member in told.decision.placement.members for uuid in member.devices}
    ran = gang.run(lambda: [device.uuid for device in tritium.rank().devices])
    assert {uuid for value in ran.values for uuid in value} == wanted


def test_a_held_device_is_waited_for_by_name_and_more_than_there_are_never_fit(
    spark: SparkSession, state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    eight, nine = tritium.Request(members=8), tritium.Request(members=9)
    one = tritium.snapshot(spark).hosts[0].pools[1].devices[2].uuid
    file = tmp_path / "snapshot.json"

    with holds.take([one], what="a notebook", directory=state):
        waits, never = tritium.explain(spark, eight, save=file), tritium.explain(spark, nine)

    assert isinstance(waits.decision, Waiting)
    assert [
        (wait.device, wait.holder.startswith("a notebook (pid ")) for wait in waits.decision.waits_for
    ] == [(one, True)]
    assert isinstance(never.decision, Unassignable)
    assert "9 members with 1 device each, room for 7" in str(never)
    assert cli.main(["explain", str(file), "--output", "json"]) == 45
    assert json.loads(capsys.readouterr().out)["request"] == json.loads(json.dumps(waits.as_data()))
    assert cli.main(["explain", str(file), "--request", "{members: 7}"]) == 0
    assert isinstance(tritium.explain(spark, eight).decision, Assigned), "nothing was taken"


def test_all_who_share_a_device_are_named_with_their_shares_and_what_is_left_may_be_had(
    spark: SparkSession, state: Path
) -> None:
    one = tritium.snapshot(spark).hosts[0].pools[0].devices[1].uuid

    with (
        holds.take_share(one, 20_000, of_mib=40_960, what="digits", directory=state),
        holds.take_share(one, 16_000, of_mib=40_960, what="faces", directory=state),
    ):
        names = holds.described(holds.held(state)[one][::-1])
        gang = tritium.explain(spark, tritium.Request(members=8))
        replicas = tritium.Request(members=8, kind="replicas", share_mib=40_000)
        rest = tritium.explain(spark, tritium.Request(members=1, kind="replicas", share_mib=4_000))
        full = tritium.explain(spark, replicas)

    assert f"{one}: held by {names}" in str(gang)
    assert f"{one}: 4960 MiB left besides {names}, 40000 needed" in str(full)
    assert isinstance(rest.decision, Assigned)
    assert rest.decision.placement.members[0].devices == (one,)


def test_an_executor_without_a_free_core_is_told_within_the_limit(
    spark: SparkSession, tmp_path: Path
) -> None:
    stop, cores = tmp_path / "stop", 8

    def busy(_: int) -> int:
        deadline = time.monotonic() + 250
        while not stop.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        return 1

    tracker = spark.sparkContext.statusTracker()
    job = threading.Thread(
        target=spark.sparkContext.parallelize(range(cores), cores).map(busy).collect, daemon=True
    )
    job.start()
    while (
        sum(
            info.numActiveTasks
            for stage in tracker.getActiveStageIds()
            if (info := tracker.getStageInfo(stage)) is not None
        )
        < cores
    ):
        time.sleep(0.05)

    with pytest.raises(TooSlow, match=r"0 of 2 executors could be looked at in 2 s: all cores of the others"):
        tritium.snapshot(spark, limit_s=2)

    stop.touch()
    job.join(timeout=60)
    assert not job.is_alive(), "the other job was not touched"
    assert len(tritium.snapshot(spark).hosts[0].pools) == 2
