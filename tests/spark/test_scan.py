"""Tasks that read files themselves get the rows, values and types that Spark itself would give them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from rigs.cluster import local
from spark.both_ways import assert_same
from spark.short_ways import short_ways
from tritium.spark import splits_read
from tritium.spark.scan import reading
from tritium.spark.splits import BySpark, Splits

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]  # the law starts many jobs

COLUMNS = {
    "by": "cast(id % 100 as byte)",
    "sh": "cast(id as short)",
    "i": "cast(id as int)",
    "l": "id * 10000000000",
    "f": "cast(id / 3 as float)",
    "d": "id / 7",
    "bo": "id % 2 = 0",
    "s": "concat('é ', id)",
    "bi": "cast(cast(id as string) as binary)",
    "de": "cast(id as decimal(30, 3))",
    "sd": "cast(id as decimal(7, 2))",
    "da": "date_add(date'1970-01-01', cast(id * 50 as int) - 2000)",
    "ts": "timestamp_micros(id * 1234567891011 - 1000000000000)",
    "tn": "cast(timestamp_micros(id * 1234567) as timestamp_ntz)",
    "st": "named_struct('a', id, 'b', array(struct(cast(id as string) as q)))",
    "mp": "map(cast(id as string), array(id, null))",
    "aa": "array(array(cast(id as float)), null)",
    "nn": "if(id % 3 = 0, null, id)",
    "na": "if(id % 3 = 0, null, array(id))",
    "x": "transform(sequence(0, 15), n -> cast(id + n as float))",
}
FOLDERS = {
    "kd": "date_add(date'2020-01-01', cast(id % 3 as int))",
    "ks": "if(id % 4 = 0, null, concat('a b%/é', id % 2))",
    "km": "cast(id % 2 as decimal(5, 1))",
    "kt": "timestamp_seconds(id % 3 * 10000)",
    "kl": "(id % 2) * 10000000000",
    "kf": "id % 2 / 4.0",
}
TIMESTAMPS = ("INT96", "TIMESTAMP_MICROS", "TIMESTAMP_MILLIS")
_numbers = itertools.count()


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    with local(2, machine="two-t4", conf={"spark.sql.files.maxPartitionBytes": "20000"}) as session:
        yield session


def test_any_table_reads_the_same_both_ways(spark: SparkSession, tmp_path: Path) -> None:
    @settings(max_examples=4, deadline=None, derandomize=True, phases=[Phase.generate])
    @given(
        names=st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=8, unique=True),
        folders=st.lists(st.sampled_from(sorted(FOLDERS)), max_size=2, unique=True),
        rows=st.integers(1, 400),
        stamp=st.sampled_from(TIMESTAMPS),
        order=st.randoms(use_true_random=False),
    )
    def law(names: list[str], folders: list[str], rows: int, stamp: str, order: random.Random) -> None:
        path = str(tmp_path / f"t{next(_numbers)}")
        chosen = {name: (COLUMNS | FOLDERS)[name] for name in (*names, *folders)}
        spark.conf.set("spark.sql.parquet.outputTimestampType", stamp)
        frame = spark.range(0, rows, 1, 2).selectExpr(*(f"{what} as {name}" for name, what in chosen.items()))
        frame.write.partitionBy(*folders).parquet(path)

        some = order.sample(sorted(chosen), k=len(chosen) - (len(chosen) > 1))
        assert_same(spark.read.schema(frame.schema).parquet(path).select(some))

    law()


def test_every_type_at_once_also_renamed_pruned_and_merged(spark: SparkSession, tmp_path: Path) -> None:
    frame = spark.range(0, 2000, 1, 3).selectExpr(*(f"{what} as {name}" for name, what in COLUMNS.items()))
    frame.write.option("parquet.block.size", "50000").parquet(str(tmp_path / "all"))
    df = spark.read.parquet(str(tmp_path / "all"))

    how = assert_same(df)
    assert len(how.tasks) > 3
    assert_same(df.select("X", df.i.alias("other"), "l"))
    assert len(assert_same(df.coalesce(2)).tasks) == 2


def test_files_of_pyarrow_keep_their_rows_too(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    table = pa.table(
        {
            "fixed": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2)),
            "large": pa.array([["a"], None], pa.large_list(pa.large_string())),
            "word": pa.array(["x", "y"]).dictionary_encode(),
            "day": pa.array([1, None], pa.date32()),
        }
    )
    pq.write_table(table, tmp_path / "t" / "0.parquet", row_group_size=1)

    assert_same(spark.read.parquet(str(tmp_path / "t")))


TENSORS = {
    "all different": ("cast(sin(id * 784 + n) as float)", "snappy"),
    "few values": ("cast(pmod(xxhash64(id, n), 256) / 255 as float)", "snappy"),
    "few values, then all different": ("cast(if(id < 400, n % 9, sin(id * 784 + n)) as float)", "lz4_raw"),
    "bytes": ("cast(pmod(xxhash64(id, n), 256) - 128 as byte)", "snappy"),
    "shorts": ("cast(pmod(xxhash64(id, n), 65536) - 32768 as short)", "snappy"),
    "whole numbers": ("cast(n % 200 as int)", "zstd"),
}


@pytest.mark.parametrize(("element", "codec"), TENSORS.values(), ids=TENSORS)
def test_tensors_that_spark_wrote_are_read_from_their_pages(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, element: str, codec: str
) -> None:
    frame = spark.range(0, 800, 1, 1).selectExpr(f"transform(sequence(0, 783), n -> {element}) as x")
    frame.write.option("compression", codec).parquet(str(tmp_path / "t"))
    df = spark.read.parquet(str(tmp_path / "t")).coalesce(1)
    how = reading(df)
    taken = short_ways(monkeypatch)

    assert "x is copied from its pages while its lists are equally long" in how.sentence
    assert isinstance(how, Splits)
    got = pa.Table.from_batches(splits_read.read_pieces(how.tasks[0], how.columns))
    assert got.column("x").combine_chunks().flatten() == df.toArrow().column("x").combine_chunks().flatten()
    assert taken == [True] * len(how.tasks[0])


def test_only_the_folders_that_are_asked_for_are_read(spark: SparkSession, tmp_path: Path) -> None:
    spark.range(100).selectExpr("id", "id % 4 as k").write.partitionBy("k").parquet(str(tmp_path / "t"))
    df = spark.read.parquet(str(tmp_path / "t"))

    how = assert_same(df.where("k = 3"))

    assert {piece.values for task in how.tasks for piece in task} == {(3,)}
    assert_same(df.select("k"))


OLD_DAYS = {
    "date": pa.array([-200_000, -141_428, None, 0], pa.date32()),
    "stamp": pa.array([-3_786_825_600_000_001, -(10**16), None, 0], pa.timestamp("us", "UTC")),
    "dates": pa.array([[-200_000], [-141_428], None, [0]], pa.list_(pa.date32())),
    "by_name": pa.array([[("a", -200_000)], None, [], [("b", 0)]], pa.map_(pa.string(), pa.date32())),
}
"""Days before 1582-10-15, where calendars differ, and times before 1900, where time zones' rules do."""


@pytest.mark.parametrize("int96", [False, True], ids=["INT64", "INT96"])
@pytest.mark.parametrize("name", OLD_DAYS)
def test_dates_of_an_older_calendar_are_left_to_spark(
    spark: SparkSession, tmp_path: Path, name: str, *, int96: bool
) -> None:
    """Spark goes by who wrote a file and, where it does not say, by the configuration."""
    modes = [f"spark.sql.parquet.{kind}RebaseModeInRead" for kind in ("datetime", "int96")]
    for version in ("2.4.8", "3.0.3", "3.5.1", "4.2.0", None):
        table = pa.table({"x": OLD_DAYS[name]})
        if version is not None:
            table = table.replace_schema_metadata({"org.apache.spark.version": version})
        (tmp_path / f"{version}").mkdir()
        pq.write_table(table, tmp_path / f"{version}" / "0.parquet", use_deprecated_int96_timestamps=int96)
        df = spark.read.parquet(str(tmp_path / f"{version}"))
        for mode in ("CORRECTED", "LEGACY", "EXCEPTION"):
            for key in modes:
                spark.conf.set(key, mode)
            try:
                if version in ("2.4.8", "3.0.3") or (version is None and mode != "CORRECTED"):
                    assert "the dates of x may be of an older calendar" in reading(df).sentence
                else:
                    assert_same(df)
            finally:
                for key in modes:
                    spark.conf.unset(key)


def test_files_without_columns_are_left_to_spark(spark: SparkSession, tmp_path: Path) -> None:
    folder = tmp_path / "t" / "k=1"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"x": [1, 2]}).select([]), folder / "0.parquet")

    how = reading(spark.read.schema("x long, k int").parquet(str(tmp_path / "t")).select("k"))

    assert isinstance(how, BySpark)
    assert how.why.endswith("0.parquet: it has no columns")


def test_whatever_is_no_plain_scan_is_left_to_spark_with_the_reason(
    spark: SparkSession, tmp_path: Path
) -> None:
    path = str(tmp_path / "t")
    spark.range(10).selectExpr("id", "cast(id as int) n", "named_struct('a', id) s").write.parquet(path)
    df = spark.read.parquet(path)
    spark.range(10).write.json(str(tmp_path / "json"))
    frames: dict[str, Any] = {
        "its plan filters rows (FilterExec)": df.where("id = 3"),
        "its plan moves rows between tasks (AdaptiveSparkPlanExec)": df.repartition(3),
        "its plan is no plain scan (CollectLimitExec)": df.limit(3),
        "its plan is no plain scan (UnionExec)": df.union(df),
        "its plan is no plain scan (RangeExec)": spark.range(3),
        "it computes n": df.selectExpr("n + 1 as n"),
        "it computes a": df.select("s.a"),
        "its files are JSON": spark.read.json(str(tmp_path / "json")),
        "it computes file_path": df.selectExpr("id", "_metadata.file_path"),
        "it is read with the option datetimerebasemode": spark.read.option(
            "datetimeRebaseMode", "LEGACY"
        ).parquet(path),
        "there is no column z": spark.read.schema("id long, z int").parquet(path),
        "n is stored as int32, and the table has int64": spark.read.schema("n long").parquet(path),
        "it is a stream": spark.readStream.schema(df.schema).parquet(path),
    }

    for why, frame in frames.items():
        how = reading(frame)
        assert isinstance(how, BySpark), why
        assert how.why.endswith(why), how.why
    spark.range(4).selectExpr("id", "id % 2 as part").write.partitionBy("part").parquet(
        str(tmp_path / "parts")
    )
    parts = spark.read.parquet(str(tmp_path / "parts"))
    parts.createOrReplaceTempView("parts")
    spark.conf.set("spark.sql.adaptive.enabled", "false")
    try:
        subquery = spark.sql("select id from parts where part = (select max(id) % 2 from parts)")
        assert reading(subquery).sentence.startswith("Spark reads the rows: ")
    finally:
        spark.conf.unset("spark.sql.adaptive.enabled")
    cached = df.cache()
    assert "reads what is cached" in reading(cached).sentence
    cached.unpersist()
