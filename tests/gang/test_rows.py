"""How rows come to ranks on real Spark: read from files by them, or spooled, and never waited for in vain."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark import cloudpickle
from pyspark.sql import DataFrame, SparkSession

import tritium
from rigs.processes import eventually
from tritium.errors import GangCancelled, RankFailed, TooSlow, TritiumError, Unplaceable
from tritium.spark.splits import BySpark
from tritium.train.cancel import Cancel
from tritium.train.gang import _Work

pytestmark = [pytest.mark.spark, pytest.mark.usefixtures("spark"), pytest.mark.timeout(600)]
cloudpickle.register_pickle_by_value(sys.modules[__name__])

SLOW_S = 120.0
ENDED_S = 10.0
"""Far from how long the rows take, and room for a busy machine; what it took is printed."""


@pytest.fixture
def plain(spark: SparkSession, tmp_path: Path) -> DataFrame:
    """Files of eight row groups with more than 1 MiB for each of two ranks."""
    path = str(tmp_path / "plain")
    wide = spark.range(0, 400, 1, 8).selectExpr("id", "repeat(cast(id AS string), 20000) AS text")
    wide.write.parquet(path)
    return spark.read.parquet(path)


def look(shard: Any) -> dict[str, Any]:
    """What a rank has read, and how much lies in its folder."""
    folder = tritium.rank().kept()._scratch
    ids = [int(value) for batch in shard for value in batch.column("id").to_pylist()]
    return {
        "number": shard.number,
        "rows": len(shard),
        "ids": ids,
        "again": [int(value) for value in shard.numpy()["id"]],
        "batches": sum(len(batch["id"]) for batch in shard.batches(32, seed=1)),
        "bytes": sum(path.stat().st_size for path in folder.iterdir()),
    }


def test_ranks_that_read_files_themselves_spool_nothing_whatever_the_limit(
    plain: DataFrame, tmp_path: Path
) -> None:
    values = tritium.Gang(ranks=2, spool_mib=1).run(look, data=plain, checkpoints=tmp_path / "kept").values

    assert sorted(row for value in values for row in value["ids"]) == list(range(400))
    for value in values:
        assert value["bytes"] < 1 << 16
        assert value["again"] == value["ids"]
        assert value["rows"] == len(value["ids"])
        assert value["batches"] == max(other["rows"] for other in values)


def test_spooled_rows_are_the_same_and_heed_the_limit(plain: DataFrame, tmp_path: Path) -> None:
    gang, where = tritium.Gang(ranks=2), tmp_path / "kept"

    spooled = gang.run(look, data=plain, checkpoints=where, splits=False).values

    assert sorted(row for value in spooled for row in value["ids"]) == list(range(400))
    assert min(value["bytes"] for value in spooled) > 1 << 20
    with pytest.raises(Unplaceable, match="spool_mib"):
        tritium.Gang(ranks=2, spool_mib=1).run(look, data=plain, checkpoints=where, splits=False)


def test_a_file_that_is_gone_is_the_ranks_error_and_not_tried_again(plain: DataFrame) -> None:
    def late(shard: Any, *, paths: list[str]) -> None:
        for path in paths:
            Path(path.removeprefix("file://")).unlink(missing_ok=True)
        tritium.rank().barrier()
        shard.numpy()

    with pytest.raises(RankFailed, match=r"rank \d failed: .*: .* was removed since .* and run again"):
        tritium.Gang(ranks=2, retries=1).run(late, data=plain, paths=plain.inputFiles())


def slowly(spark: SparkSession, place: Path) -> DataFrame:
    """Rows that take two minutes to compute; a file says that it has begun."""

    def compute(batches: Any) -> Iterator[Any]:
        for batch in batches:
            (place / "computes").touch()
            time.sleep(SLOW_S)
            yield batch

    return spark.range(0, 2, 1, 2).mapInArrow(compute, "id long")


def spools(gang: tritium.Gang, spark: SparkSession, place: Path) -> Any:
    """Run a gang whose slow rows are computed in its own stage, while its tasks wait to spool them."""
    with Cancel.noted(gang._cancels, gang.name) as cancel:
        work = _Work(
            gang=gang,
            spark=spark,
            cancel=cancel,
            function=cloudpickle.dumps((len, {})),
            rows=slowly(spark, place),
            reading=BySpark(why="the test has it so"),
            output=None,
            checkpoints=None,
            on_report=None,
            on_line=lambda *_: None,
        )
        return work.attempt(0)


def computes(gang: tritium.Gang, spark: SparkSession, place: Path) -> Any:
    """Run a gang whose slow rows are computed in a stage before its own."""
    return gang.run(len, data=slowly(spark, place))


@pytest.mark.parametrize("run", [spools, computes])
def test_a_cancel_does_not_wait_for_rows(run: Any, spark: SparkSession, tmp_path: Path) -> None:
    gang = tritium.Gang(ranks=2, name="rows", launch_timeout_s=100)
    errors: list[TritiumError] = []

    def work() -> None:
        try:
            run(gang, spark, tmp_path)
        except TritiumError as err:
            errors.append(err)

    thread = threading.Thread(target=work)
    thread.start()
    eventually((tmp_path / "computes").exists, limit_s=100)
    began = time.monotonic()

    gang.cancel()

    thread.join(ENDED_S)
    print(f"{run.__name__}: ended {time.monotonic() - began:.2f} s after the cancel")
    assert not thread.is_alive()
    assert [type(error) for error in errors] == [GangCancelled]


@pytest.mark.parametrize("run", [spools, computes])
def test_a_time_limit_does_not_wait_for_rows(run: Any, spark: SparkSession, tmp_path: Path) -> None:
    began = time.monotonic()

    with pytest.raises(TooSlow, match="still running at its time limit"):
        run(tritium.Gang(ranks=2, timeout_s=20.0), spark, tmp_path)

    print(f"{run.__name__}: ended {time.monotonic() - began - 20:.2f} s after the limit")
    assert time.monotonic() - began < 20 + ENDED_S
