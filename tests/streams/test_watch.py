"""Whoever looks at a stream's pointer goes on after a look that failed, and ends with the stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rigs.processes import eventually
from tritium.streams import Stream, Versions
from tritium.streams.run import Watch


class Query:
    """A stream's query, as far as one is asked about it."""

    isActive = True  # noqa: N815  Spark's name

    def stop(self) -> None:
        self.isActive = False


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    for name in ("one", "two"):
        (tmp_path / "models" / name).mkdir(parents=True)
    (tmp_path / "pointer").write_text("one\n")
    return Versions(models=tmp_path / "models", pointer=tmp_path / "pointer", state=tmp_path / "state")


def test_a_look_that_failed_is_told_and_the_next_one_counts(versions: Versions) -> None:
    lost = [OSError("the folder is away\nand more")]

    def check(path: Path) -> str | None:
        if path.name == "two" and lost:
            raise lost.pop()
        return None

    watch = Watch(versions, check)
    watch.first()
    query: Any = Query()
    stream = Stream(query, watch)
    versions.pointer.write_text("two\n")

    eventually(lambda: stream.trouble == "OSError: the folder is away", limit_s=20)
    eventually(lambda: versions.serving() == "two" and stream.trouble is None, limit_s=20)
    assert stream.rejected == ()
    query.isActive = False
    watch.join(20)
    assert not watch.is_alive()
    stream.stop()
