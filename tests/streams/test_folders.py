"""A folder of Parquet files and a checkpoint are of one stream, or the stream does not start: no row is lost.

Spark's own file system is another one here than the disk, as on a cluster with HDFS.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow.parquet import read_table
from pyspark import cloudpickle
from pyspark.sql import SparkSession

from rigs.cluster import local
from streams.messages import drain, forget_commit, no_two
from tritium.errors import BadSpec, SparkFailed
from tritium.streams import Parquet
from tritium.streams.folders import mark, of_another

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where plain paths lead."""
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def spark(root: Path) -> Iterator[SparkSession]:
    conf = {
        "spark.hadoop.fs.defaultFS": "viewfs://elsewhere/",
        "spark.hadoop.fs.viewfs.mounttable.elsewhere.link./data": f"file://{root}",
        "spark.sql.warehouse.dir": f"file://{root}/warehouse",
    }
    with local(2, machine="two-t4", conf=conf) as session:
        yield session


class Streams:
    """Streams of numbers in files, some with dead letters, each with a checkpoint."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.folder = spark, folder
        (folder / "in").mkdir()

    def send(self, *numbers: int) -> None:
        """Write one more file, which is one batch."""
        name = f"{len(list((self.folder / 'in').iterdir()))}.json"
        (self.folder / "in" / name).write_text("\n".join(json.dumps({"n": n}) for n in numbers))

    def run(self, checkpoint: str, out: str, dead: str | None = None) -> None:
        rows = self.spark.readStream.schema("n long").option("maxFilesPerTrigger", 1)
        drain(
            rows.json(f"file:{self.folder / 'in'}"),
            Parquet(path=out),
            self.folder / checkpoint,
            model=no_two,
            gpu=0,
            on_error="quarantine",
            dead_letters=Parquet(path=dead) if dead is not None else None,
        )

    def found(self, out: str) -> list[int]:
        return sorted(row.n for row in self.spark.read.parquet(out).collect())


@pytest.fixture
def streams(spark: SparkSession, tmp_path: Path) -> Streams:
    return Streams(spark, tmp_path)


@pytest.fixture
def out(request: pytest.FixtureRequest) -> str:
    """A folder as Spark names it, which is another on the disk."""
    assert not Path("/data").exists()
    return f"/data/{request.node.name[:40]}"


@pytest.mark.spark
def test_a_new_checkpoint_in_the_folder_of_another_is_refused_and_its_own_goes_on(
    streams: Streams, out: str
) -> None:
    streams.send(0, 1)
    streams.send(2, 3)
    streams.run("old [1]", out)

    with pytest.raises(
        BadSpec, match=rf"^stream: sink: {out} has batches up to 1, .*new up to none: they are"
    ):
        streams.run("new", out)

    forget_commit(streams.folder / "old [1]", 1)
    streams.send(4)
    streams.run("old [1]", out)
    assert streams.found(out) == [0, 1, 2, 3, 4]


@pytest.mark.spark
def test_a_log_that_would_begin_in_the_middle_is_refused(streams: Streams, out: str) -> None:
    streams.send(0)
    streams.run("c", f"{out}/first")
    streams.send(1)

    with pytest.raises(
        BadSpec, match=r"second has batches up to none, the checkpoint .* up to 0: they are of"
    ):
        streams.run("c", f"{out}/second")


@pytest.mark.spark
def test_another_stream_that_got_as_far_is_refused_where_its_batches_would_be_left_out(
    streams: Streams, out: str, root: Path
) -> None:
    """Each could be taken for the other by the numbers of its batches."""
    streams.send(0)
    streams.run("a", f"{out}/a")
    streams.run("b", f"{out}/b")
    streams.send(1)

    for checkpoint, other in (("a", "b"), ("b", "a")):
        with pytest.raises(
            BadSpec,
            match=rf"sink: {out}/{other} is of the query \S+, the checkpoint \S+/{checkpoint} of \S+: ",
        ):
            streams.run(checkpoint, f"{out}/{other}")
    for name in "ab":
        streams.run(name, f"{out}/{name}")

    assert [streams.found(f"{out}/{name}") for name in "ab"] == [[0, 1]] * 2
    assert len(list((root / Path(out).name / "a").glob("_tritium-*"))) == 1


@pytest.mark.spark
def test_a_folder_is_a_streams_before_its_first_batch(streams: Streams, out: str, root: Path) -> None:
    streams.run("a", out)

    with pytest.raises(BadSpec, match=r"is of the query \S+, the checkpoint \S+/b of none: take"):
        streams.run("b", out)

    streams.send(0)
    streams.run("a", out)
    assert streams.found(out) == [0]
    foreign_reader = read_table(root / Path(out).name)
    assert foreign_reader.column("n").to_pylist() == [0]


@pytest.mark.spark
def test_a_folder_without_a_mark_gets_one_where_the_batches_fit(
    streams: Streams, out: str, root: Path
) -> None:
    streams.send(0)
    streams.run("a", out)
    (mark,) = (root / Path(out).name).glob("_tritium-*")
    mark.unlink()

    streams.run("a", out)

    assert mark.exists()


@pytest.mark.spark
def test_a_stream_may_lose_its_dead_letters_only_with_a_new_folder(streams: Streams, out: str) -> None:
    streams.send(0, 2)
    streams.run("c", f"{out}/rows", f"{out}/dead")
    streams.send(1)

    with pytest.raises(BadSpec, match=r"rows has batches up to none, .* up to 0: they are of two streams"):
        streams.run("c", f"{out}/rows")
    streams.run("c", f"{out}/rows", f"{out}/dead")

    assert (streams.found(f"{out}/rows"), streams.found(f"{out}/dead")) == ([0, 1], [2])


@pytest.mark.spark
def test_a_stream_gets_dead_letters_only_with_a_new_folder(streams: Streams, out: str) -> None:
    streams.send(0)
    streams.run("c", out)

    with pytest.raises(BadSpec, match=rf"sink: {out} was written by a stream without dead_letters; take ano"):
        streams.run("c", out, f"{out}-dead")
    with pytest.raises(BadSpec, match=rf"dead_letters: {out} was written by a stream without dead_letters"):
        streams.run("c", f"{out}-rows", out)


@pytest.mark.spark
def test_older_rows_are_not_hidden(streams: Streams, spark: SparkSession, out: str) -> None:
    spark.range(3).selectExpr("id as n").write.parquet(out)
    streams.send(7)

    with pytest.raises(BadSpec, match="holds files that are in no stream's log"):
        streams.run("c", out)

    assert streams.found(out) == [0, 1, 2]


@pytest.mark.spark
def test_a_checkpoint_in_the_folder_itself_is_no_older_row(streams: Streams) -> None:
    """As it is left by a stream that was stopped before its first batch."""
    (streams.folder / "out" / "c").mkdir(parents=True)
    streams.send(7)

    streams.run("out/c", f"file:{streams.folder / 'out'}")

    assert streams.found(f"file:{streams.folder / 'out'}") == [7]


@pytest.mark.spark
def test_a_stream_that_died_in_its_first_batch_finds_its_own_files_there(
    streams: Streams, out: str, root: Path
) -> None:
    streams.send(0, 1)
    streams.run("c", out)
    forget_commit(streams.folder / "c", 0)
    shutil.rmtree(root / Path(out).name / "_spark_metadata")

    streams.run("c", out)

    assert streams.found(out) == [0, 1]


def test_a_stream_whose_folder_takes_no_mark_does_not_go_on() -> None:
    def full(_: str) -> None:
        raise OSError(28, "No space left on device")

    stopped: list[bool] = []
    hadoop = SimpleNamespace(fs=SimpleNamespace(Path=full))
    apache = SimpleNamespace(apache=SimpleNamespace(hadoop=hadoop))
    spark: Any = SimpleNamespace(_jvm=SimpleNamespace(org=apache))
    query: Any = SimpleNamespace(id="8e2d", stop=lambda: stopped.append(True))

    with pytest.raises(SparkFailed, match=r"a mark in out failed: .*No space left on device"):
        mark(spark, Parquet(path="out"), query)

    assert stopped == [True]


@given(batches=st.integers(0, 5), step=st.sampled_from(("planned", "logged", "committed")))
def test_a_stream_that_was_killed_at_any_step_of_any_batch_finds_its_folder_its_own(
    batches: int, step: str
) -> None:
    last = batches - 1 if batches else None
    now = last + 1 if last is not None else 0
    log = last if step == "planned" else now

    assert not of_another(log=log, committed=now if step == "committed" else last, planned=now)
    assert of_another(log=log, committed=None, planned=None) == (log is not None)
