"""Whoever looks at a stream's pointer goes on after a look that failed, and ends with the stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rigs.processes import eventually
from streams.messages import publish
from tritium.errors import VerifyFailed
from tritium.streams import Stream, Versions
from tritium.streams.run import Watch


class Query:
    """A stream's query, as far as one is asked about it."""

    isActive = True  # noqa: N815  Spark's name

    def stop(self) -> None:
        self.isActive = False


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    return Versions(store=tmp_path / "store", state=tmp_path / "state")


def test_a_look_that_failed_is_told_and_the_next_one_counts(versions: Versions) -> None:
    lost = [OSError("the folder is away\nand more")]

    def check(path: Path) -> str | None:
        if (path / "plus").read_text() == "2" and lost:
            raise lost.pop()
        return None

    publish(versions, 1)
    watch = Watch(versions, check)
    watch.first()
    query: Any = Query()
    stream = Stream(query, watch)
    two = publish(versions, 2)

    eventually(lambda: stream.trouble == "OSError: the folder is away", limit_s=20)
    eventually(lambda: versions.serving() == two and stream.trouble is None, limit_s=20)
    assert stream.rejected == ()
    query.isActive = False
    watch.join(20)
    assert not watch.is_alive()
    stream.stop()


def test_a_version_that_was_rejected_is_told_once_though_the_pointer_stays(versions: Versions) -> None:
    one = publish(versions, 1)
    watch = Watch(versions, lambda _: None)
    watch.first()

    versions.reject(one, "it does not load")
    watch._look()
    watch._look()

    assert versions.wanted() == one
    assert watch.rejected == [f"version {one} of the model was rejected: it does not load"]


def test_nothing_starts_without_a_version_that_passed(versions: Versions) -> None:
    with pytest.raises(VerifyFailed, match=r"the pointer model of the store .*store names no model"):
        Watch(versions, lambda _: None).first()
    one = publish(versions, 1)
    with pytest.raises(VerifyFailed, match=f"version {one} of the model was rejected: it guesses"):
        Watch(versions, lambda _: "it guesses").first()
