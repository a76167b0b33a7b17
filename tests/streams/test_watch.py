"""Whoever looks at a stream's pointer goes on after a look that failed, and ends with the stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rigs.processes import eventually
from streams.messages import publish
from tritium.errors import SparkFailed, VerifyFailed
from tritium.streams import Stream, Versions
from tritium.streams.load import CheckDied
from tritium.streams.run import Watch


class Query:
    """A stream's query, as far as one is asked about it."""

    isActive = True  # noqa: N815  Spark's name

    def stop(self) -> None:
        self.isActive = False


def deadly(path: Path) -> None:
    """Check a version; the processes that check 2 and 3 end."""
    if (path / "plus").read_text() in "23":
        raise CheckDied(version=path.name, how="it crashed")


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


def test_a_version_whose_check_ends_its_process_again_and_again_is_rejected(versions: Versions) -> None:
    one = publish(versions, 1)
    watch = Watch(versions, deadly)
    watch.first()

    def looks_without_verdict(plus: float, times: int) -> str:
        version = publish(versions, plus)
        for _ in range(times):
            with pytest.raises(CheckDied):
                watch._look()
        return version

    looks_without_verdict(2, 2)
    looks_without_verdict(3, 1)
    two = looks_without_verdict(2, 2)
    watch._look()

    assert watch.rejected == [
        f"version {two} of the model was rejected: its check ended its process 3 times: it crashed"
    ]
    assert versions.wanted() == versions.serving() == one
    (versions.state / "rejected" / two).unlink()
    looks_without_verdict(2, 2)


def test_a_stream_starts_by_what_serves_though_the_new_version_cannot_be_checked(versions: Versions) -> None:
    publish(versions, 2)
    with pytest.raises(
        SparkFailed, match=r"^the check of version \w+ of the model ended its process: it crashed$"
    ):
        Watch(versions, deadly).first()
    one = publish(versions, 1)
    Watch(versions, deadly).first()
    two = publish(versions, 2)
    watch = Watch(versions, deadly)

    watch.first()

    assert versions.serving() == one
    assert (
        watch.trouble == f"CheckDied: the check of version {two} of the model ended its process: it crashed"
    )


def test_looks_that_fail_come_further_and_further_apart(versions: Versions) -> None:
    pauses: list[float] = []

    class Over:
        def wait(self, pause_s: float) -> bool:
            pauses.append(pause_s)
            return len(pauses) == 9

    def folder_is_back() -> bool:
        if len(pauses) < 7:
            raise OSError("the folder is away")
        return True

    watch = Watch(versions, deadly)
    over: Any = Over()
    watch._over, watch._while = over, folder_is_back

    watch.run()

    assert pauses == [1, 2, 4, 8, 10, 10, 10, 1, 1]
