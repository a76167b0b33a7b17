"""Gangs on real Spark: two executors, each with four emulated devices."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyspark import cloudpickle
from pyspark.sql import SparkSession

import tritium
from rigs.processes import eventually
from tritium.assign import Request
from tritium.errors import BadSpec, RankFailed, SparkFailed, TooSlow, TritiumError, Unplaceable
from tritium.train.assembly import Assembly
from tritium.train.attempts import tried
from tritium.train.board import BOARD
from tritium.train.contract import Attempt
from tritium.train.job import GangJob
from tritium.train.placing import Asked
from tritium.train.task import SCHEMA, RankTask

pytestmark = [pytest.mark.spark, pytest.mark.usefixtures("spark")]
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def who() -> dict[str, Any]:
    rank = tritium.rank()
    return {
        "rank": rank.rank,
        "size": rank.size,
        "local_rank": rank.local_rank,
        "devices": [device.uuid for device in rank.devices],
        "visible": os.environ["CUDA_VISIBLE_DEVICES"].split(","),
        "order": os.environ["CUDA_DEVICE_ORDER"],
        "environment": {name: os.environ[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")},
    }


def test_values_come_back_in_rank_order_with_distinct_devices() -> None:
    result = tritium.Gang(ranks=4).run(who)

    assert [value["rank"] for value in result.values] == [0, 1, 2, 3]
    assert [value["environment"]["RANK"] for value in result.values] == ["0", "1", "2", "3"]
    devices = [uuid for value in result.values for uuid in value["devices"]]
    assert len(set(devices)) == 4
    assert [[d.uuid for d in info.devices] for info in result.ranks] == [[uuid] for uuid in devices]


def test_ranks_on_one_host_see_the_gangs_devices_in_local_rank_order() -> None:
    values = tritium.Gang(ranks=2, gpus_per_rank=2).run(who).values

    for value in values:
        assert value["order"] == "PCI_BUS_ID"
        assert len(value["visible"]) == 4
        assert value["visible"][value["local_rank"]] == value["devices"][0]
        assert set(value["devices"]) <= set(value["visible"])


def test_two_policies_open_different_devices_in_the_same_application() -> None:
    opened = {
        policy: sorted(
            uuid
            for value in tritium.Gang(ranks=4, policy=policy).run(who).values
            for uuid in value["devices"]
        )
        for policy in ("packed", "spread")
    }

    assert opened["packed"] != opened["spread"]


def test_what_groups_need_is_required_and_what_is_preferred_is_given_up() -> None:
    wish = tritium.Constraints(product="H100")

    values = tritium.Gang(ranks=2, group=2, near="nvlink", prefer=(wish,)).run(who).values

    assert len({uuid for value in values for uuid in value["devices"]}) == 2
    with pytest.raises(
        Unplaceable, match=r"4 members with 2 devices each \(H100\) in groups of 4 on one nvlink"
    ):
        tritium.Gang(ranks=4, gpus_per_rank=2, group=4, near="nvlink", product="H100").run(who)


def test_keyword_arguments_reach_every_rank() -> None:
    def add(*, left: int, right: int) -> int:
        return left + right + int(tritium.rank().rank)

    assert tritium.Gang(ranks=2).run(add, left=40, right=1).values == (41, 42)


def test_every_row_reaches_exactly_one_rank(spark: SparkSession) -> None:
    def ids(shard: Any) -> list[int]:
        assert sum(batch.num_rows for batch in shard) == len(shard)
        return [int(i) for i in shard.numpy()["id"]]

    values = tritium.Gang(ranks=3).run(ids, data=spark.range(1000)).values

    assert sorted(i for part in values for i in part) == list(range(1000))
    assert min(len(part) for part in values) > 0


def test_reports_are_heard_while_the_gang_runs() -> None:
    def work() -> None:
        tritium.rank().report(step=1)
        tritium.rank().barrier()
        tritium.rank().report(step=2)

    heard: list[tuple[int, int]] = []
    tritium.Gang(ranks=2).run(work, on_report=lambda rank, values: heard.append((rank, values["step"])))

    assert sorted(heard[:2]) == [(0, 1), (1, 1)]
    assert sorted(heard[2:]) == [(0, 2), (1, 2)]


def test_ranks_gather_over_executors() -> None:
    def gather() -> list[int]:
        return [int(i) for i in tritium.rank().all_gather(tritium.rank().rank * 10)]

    assert tritium.Gang(ranks=4).run(gather).values == ([0, 10, 20, 30],) * 4


def test_ranks_that_call_in_another_order_fail_with_both_calls() -> None:
    def confuse() -> None:
        me = tritium.rank()
        if me.rank == 0:
            me.barrier()
            me.all_gather(0)
        else:
            me.all_gather(1)
            me.barrier()

    with pytest.raises(RankFailed, match=r"DifferentCalls: call 1 of rank \d is .*\(\), of rank") as caught:
        tritium.Gang(ranks=2, retries=1).run(confuse)

    assert "barrier()" in str(caught.value)
    assert "all_gather()" in str(caught.value)
    assert "in confuse" in caught.value.trace


def test_a_rank_knows_its_peers_and_the_result_tells_how_each_started(spark: SparkSession) -> None:
    def look(shard: Any) -> list[tuple[Any, ...]]:
        me = tritium.rank()
        assert me.data is not None
        assert me.data is shard
        assert me.peers[me.rank].rows == len(shard)
        assert {peer.group_rank for peer in me.peers} == set(range(me.groups))
        me.report(loss=1.0)
        return [(peer.rank, peer.local_rank, peer.devices, peer.rows) for peer in me.peers]

    result = tritium.Gang(ranks=3, name="known", launch_timeout_s=400).run(look, data=spark.range(90))

    assert result.values[0] == result.values[1] == result.values[2]
    assert [peer[0] for peer in result.values[0]] == [0, 1, 2]
    assert sum(peer[3] for peer in result.values[0]) == 90
    assert [peer[2] for peer in result.values[0]] == [tuple(d.uuid for d in r.devices) for r in result.ranks]
    assert list(result.phases) == ["queue", "launch", "rows", "place", "run"]
    assert all(seconds >= 0 for seconds in result.phases.values())
    for rank in result.ranks:
        assert list(rank.start) == ["fork", "import", "report"]
        assert rank.peak_mib is not None
        assert 10 < rank.peak_mib < 4096
    known = [event for _, event in BOARD.events if event.owner.startswith("known-")]
    assert [type(event).__name__ for event in known] == ["Granted", "Gone", "Gone", "Gone"]


def test_a_rank_whose_rows_do_not_fit_is_refused_with_the_setting(spark: SparkSession) -> None:
    wide = spark.range(400).selectExpr("id", "repeat('x', 100000) AS text")

    with pytest.raises(Unplaceable, match=r"cannot take part.*\n.*over 1 MiB \(spool_mib\): use more ranks"):
        tritium.Gang(ranks=2, spool_mib=1, launch_timeout_s=400).run(len, data=wide)


def test_what_a_rank_prints_is_heard_at_the_driver(capfd: pytest.CaptureFixture[str]) -> None:
    def speak() -> None:
        print(f"hello from {tritium.rank().rank}")

    tritium.Gang(ranks=2).run(speak)

    errors = capfd.readouterr().err
    assert "[rank 0] hello from 0" in errors
    assert "[rank 1] hello from 1" in errors


def test_rows_may_take_longer_to_compute_than_a_gang_to_start(spark: SparkSession) -> None:
    def slowly(tables: Iterator[Any]) -> Iterator[Any]:
        time.sleep(75)
        yield from tables

    rows = spark.range(10, numPartitions=1).mapInArrow(slowly, "id long")

    assert sum(tritium.Gang(ranks=2, launch_timeout_s=60).run(len, data=rows).values) == 10


@pytest.mark.parametrize("with_data", [False, True])
def test_a_failing_rank_fails_the_gang_once_with_its_own_traceback(
    spark: SparkSession, tmp_path: Any, *, with_data: bool
) -> None:
    notes = str(tmp_path)

    def fail(*_: Any) -> None:
        import time
        import uuid

        open(f"{notes}/{uuid.uuid4()}", "w").close()  # noqa: PTH123
        tritium.rank().barrier()
        if tritium.rank().rank == 1:
            raise ValueError("this rank cannot")
        time.sleep(60)

    with pytest.raises(RankFailed) as caught:
        tritium.Gang(ranks=2, name="train").run(fail, data=spark.range(10) if with_data else None)

    assert str(caught.value) == "train: rank 1 failed: ValueError: this rank cannot"
    assert "in fail" in caught.value.trace
    assert caught.value.victims == (0,)
    assert "-rank-1.log on " in caught.value.log
    assert len(list(tmp_path.iterdir())) == 2, "a user's bug must not be tried again"


def test_a_rank_that_dies_by_a_signal_is_named() -> None:
    def die() -> None:
        import signal

        os.kill(os.getpid(), signal.SIGSEGV)

    with pytest.raises(RankFailed, match="killed by SIGSEGV"):
        tritium.Gang(ranks=1).run(die)


def test_the_python_workers_environment_is_never_changed(spark: SparkSession) -> None:
    def environment(batches: Any) -> Any:
        import pyarrow as pa

        list(batches)
        yield pa.RecordBatch.from_pydict({"text": [repr(sorted(os.environ.items()))]})

    def look() -> set[str]:
        rows = spark.range(0, 8, 1, 8).mapInArrow(environment, "text string").collect()
        return {row.text for row in rows}

    before = look()
    tritium.Gang(ranks=4).run(who)
    assert look() <= before


def test_more_ranks_than_slots_are_refused_and_not_waited_for_ten_minutes() -> None:
    with pytest.raises(Unplaceable, match="9 ranks must start at once; Spark had room for 8"):
        tritium.Gang(ranks=9, launch_timeout_s=1).run(who)


def test_a_device_that_is_too_small_is_refused_with_its_numbers() -> None:
    with pytest.raises(Unplaceable, match=r"40960.*102400"):
        tritium.Gang(ranks=2, min_memory_mib=102400).run(who)


def test_a_driver_that_no_task_reaches_is_a_mistake_in_the_configuration_and_tried_once(
    spark: SparkSession,
) -> None:
    frame = spark.createDataFrame([(-1, None, "node-7: Connection refused", None)], SCHEMA)
    attempts = []

    def attempt(number: int) -> None:
        attempts.append(number)
        assembly = Assembly(gang="train", size=1, launch_s=60, launch_by=None, end_by=None)
        job = GangJob(spark, tag="nobody meets", assembly=assembly)
        with job.meeting(lambda _: None, computed=False) as meeting:
            job.run(frame, meeting)

    with pytest.raises(SparkFailed, match=r"cannot reach the driver at .*spark.driver.host.*node-7: Conn"):
        tried(attempt, retries=2)
    assert attempts == [0]


def run_with_a_task_astray(spark: SparkSession) -> None:
    """Run a gang whose second task looks for the driver where nobody listens."""
    assembly = Assembly(gang="train", size=2, launch_s=5, launch_by=time.monotonic() + 5, end_by=None)
    job = GangJob(spark, tag="half of it meets", assembly=assembly)
    with job.meeting(lambda _: None, computed=False) as meeting:
        task = RankTask(
            meeting=meeting.address,
            key=meeting.key,
            attempt=Attempt(gang="train"),
            asked=Asked(request=Request(members=2), policy="packed"),
            framework="torch",
            function=b"",
            reading=None,
            spool_mib=None,
            silence_s=30,
        )

        def half(batches: Any) -> Any:
            from pyspark import BarrierTaskContext

            astray = replace(task, meeting=("127.0.0.1", 1))
            yield from (astray if BarrierTaskContext.get().partitionId() else task)(batches)

        job.run(spark.range(2, numPartitions=2).mapInArrow(half, SCHEMA, barrier=True), meeting)


def test_tasks_that_cannot_reach_the_driver_are_told_from_those_that_were_not_started(
    spark: SparkSession,
) -> None:
    with pytest.raises(SparkFailed, match=r"^train: tasks \[1\] were started, and cannot reach the driver"):
        run_with_a_task_astray(spark)


def test_a_gang_over_its_time_limit_is_ended() -> None:
    def sleep() -> None:
        import time

        time.sleep(60)

    with pytest.raises(TooSlow):
        tritium.Gang(ranks=2, timeout_s=4).run(sleep)


def test_a_rank_that_does_nothing_for_too_long_ends_the_gang_with_the_stacks_of_all() -> None:
    def get_stuck() -> None:
        import time

        if tritium.rank().rank == 1:
            time.sleep(60)
        tritium.rank().barrier()

    with pytest.raises(
        TooSlow, match=r"^train: rank 1 reported, gathered and printed nothing for 2 s"
    ) as caught:
        tritium.Gang(ranks=2, name="train", stall_timeout_s=2).run(get_stuck)

    first, _, second = caught.value.trace.partition("rank 1:")
    assert "in barrier" in first
    assert "in get_stuck" in second


def test_all_mistakes_in_a_gangs_numbers_are_named_at_once() -> None:
    with pytest.raises(BadSpec) as caught:
        tritium.Gang(ranks=0, gpus_per_rank=-1, policy="best", framework="caffe")

    assert str(caught.value).splitlines() == [
        "Gang: ranks: expected an integer >= 1, got 0",
        "Gang: gpus_per_rank: expected an integer >= 0, got -1",
        "Gang: policy: 'best' is unknown; there are packed, spread",
        "Gang: framework: 'caffe' is unknown; there are torch",
    ]
    with pytest.raises(BadSpec, match="Gang: 3 members do not divide into groups of 2"):
        tritium.Gang(ranks=3, group=2)


def test_every_error_has_an_exit_code_of_its_own() -> None:
    codes = [error.exit_code for error in TritiumError.__subclasses__()]

    assert len(set(codes)) == len(codes)
    assert min(codes) > 2


def first_returns_at_once(folder: str) -> float:
    """Rank 0 returns; rank 1 stays until the test lets it go."""
    marks = Path(folder)
    if tritium.rank().rank == 0:
        return time.time()
    (marks / "late").touch()
    deadline = time.monotonic() + 60
    while not (marks / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return time.time()


def test_no_task_returns_before_all_ranks_are_gone(spark: SparkSession, tmp_path: Path) -> None:
    found: list[tritium.Result] = []
    job = threading.Thread(
        target=lambda: found.append(tritium.Gang(ranks=2).run(first_returns_at_once, folder=str(tmp_path)))
    )
    job.start()
    eventually((tmp_path / "late").exists, limit_s=90)
    tracker = spark.sparkContext.statusTracker()
    returned = []
    for _ in range(20):  # rank 0 has nothing left to do in this time
        time.sleep(0.1)
        stages = [tracker.getStageInfo(number) for number in tracker.getActiveStageIds()]
        returned += [stage.numCompletedTasks for stage in stages if stage is not None]

    (tmp_path / "go").touch()
    job.join(90)

    assert returned
    assert set(returned) == {0}
    assert len(found) == 1
