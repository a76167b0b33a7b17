"""Whoever opens a sink's path sees all of one version, and never half of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tritium.errors import CannotPublish
from tritium.pipeline.sink import ParquetSink
from tritium.store.disk import LocalDisk


def write(sink: ParquetSink, content: str) -> str:
    into = sink.begin()
    assert not into.exists(), "Spark writes only to a folder that is not there"
    into.mkdir()
    (into / "part-0.parquet").write_text(content)
    return sink.keep(into)


def test_nothing_is_seen_before_it_is_published_and_all_of_it_after(tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path / "predictions", disk=LocalDisk())

    version = write(sink, "one")

    assert not (tmp_path / "predictions").exists()
    sink.publish(version)
    assert (tmp_path / "predictions" / "part-0.parquet").read_text() == "one"


def test_a_new_version_takes_the_place_of_the_old_one_which_stays_for_its_readers(tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path / "predictions", disk=LocalDisk())
    versions = []
    for content in ("one", "two", "three"):
        versions.append(write(sink, content))
        sink.publish(versions[-1])

    assert (tmp_path / "predictions" / "part-0.parquet").read_text() == "three"
    assert [sink.has(version) for version in versions] == [False, True, True]


def test_what_a_killed_run_left_is_swept_by_the_next_publication(tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path / "predictions", disk=LocalDisk())
    left = sink.begin()
    left.mkdir()

    sink.publish(write(sink, "whole"))

    assert not left.exists()


def test_publishing_again_changes_nothing(tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path / "predictions", disk=LocalDisk())
    version = write(sink, "one")
    sink.publish(version)
    before = (tmp_path / "predictions").lstat()

    sink.publish(version)

    assert (tmp_path / "predictions").lstat() == before


def test_a_folder_that_somebody_else_made_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "predictions").mkdir()
    sink = ParquetSink(tmp_path / "predictions", disk=LocalDisk())

    with pytest.raises(CannotPublish, match=r"predictions exists and is not a sink of Tritium's: move it"):
        sink.check()


def test_a_sink_moves_with_its_folder(tmp_path: Path) -> None:
    """The link is relative, so that ``mv out elsewhere`` keeps it right."""
    sink = ParquetSink(tmp_path / "out" / "predictions", disk=LocalDisk())
    sink.publish(write(sink, "one"))

    (tmp_path / "out").rename(tmp_path / "elsewhere")

    assert (tmp_path / "elsewhere" / "predictions" / "part-0.parquet").read_text() == "one"
