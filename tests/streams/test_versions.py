"""A micro-batch has one version of the model for ever, and a version that fails its check never serves."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tritium.errors import VerifyFailed
from tritium.streams import Versions


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    for name in ("one", "two", "bad"):
        (tmp_path / "models" / name).mkdir(parents=True)
    return Versions(models=tmp_path / "models", pointer=tmp_path / "pointer", state=tmp_path / "state")


def verdict(path: Path) -> str | None:
    return "it guesses" if path.name == "bad" else None


def point(versions: Versions, name: str) -> str | None:
    versions.pointer.write_text(f"{name}\n")
    return versions.look(verdict)


def test_a_repeated_batch_uses_the_version_that_it_had_though_another_serves_now(versions: Versions) -> None:
    point(versions, "one")
    assert versions.of_batch("q", 0) == "one"

    assert point(versions, "two") is None

    assert (versions.of_batch("q", 0), versions.of_batch("q", 1)) == ("one", "two")


def test_the_first_of_a_batchs_tasks_decides_for_all_of_them(versions: Versions) -> None:
    point(versions, "one")
    start, found = threading.Barrier(9), []

    def task() -> None:
        start.wait()
        found.append([versions.of_batch("q", batch) for batch in range(20)])

    def swap() -> None:
        start.wait()
        for _ in range(20):
            point(versions, "two")
            point(versions, "one")

    threads = [threading.Thread(target=task) for _ in range(8)] + [threading.Thread(target=swap)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({tuple(seen) for seen in found}) == 1
    assert not list((versions.state / "batches").rglob(".*"))


def test_a_version_that_fails_its_check_is_rolled_back_and_not_tried_again(versions: Versions) -> None:
    point(versions, "one")

    assert point(versions, "bad") == "version bad of the model was rejected: it guesses"

    assert versions.pointer.read_text() == "one\n"
    assert versions.serving() == "one"
    assert versions.rejected("bad") == "it guesses"
    versions.pointer.write_text("bad\n")
    assert versions.look(lambda _: pytest.fail("it was checked again")) is not None
    assert versions.of_batch("q", 0) == "one"


def test_a_pointer_to_nothing_is_rolled_back_too(versions: Versions) -> None:
    point(versions, "one")

    assert point(versions, "none") == (
        f"version none of the model was rejected: there is no {versions.models / 'none'}"
    )
    assert versions.pointer.read_text() == "one\n"


def test_without_any_version_that_passed_a_batch_fails(versions: Versions) -> None:
    assert versions.look(verdict) is None
    assert point(versions, "bad") is not None
    assert versions.pointer.read_text() == "bad\n"

    with pytest.raises(VerifyFailed, match=r"no version of the model in .* has passed its check yet"):
        versions.of_batch("q", 0)


def test_old_records_go(versions: Versions) -> None:
    point(versions, "one")

    for batch in (0, 1, 1000):
        versions.of_batch("q", batch)

    assert sorted(path.name for path in (versions.state / "batches" / "q").iterdir()) == ["1.0", "1000.0"]


def test_another_query_has_batches_of_its_own(versions: Versions) -> None:
    point(versions, "one")
    versions.of_batch("old", 0)
    point(versions, "two")

    assert (versions.of_batch("new", 0), versions.of_batch("old", 0)) == ("two", "one")


def test_a_version_that_does_not_work_after_all_is_taken_out_and_its_batch_gets_another(
    versions: Versions,
) -> None:
    point(versions, "one")
    point(versions, "two")
    assert versions.of_batch("q", 0) == "two"

    versions.reject("two", "it does not load")

    assert (versions.serving(), versions.pointer.read_text()) == ("one", "one\n")
    assert versions.of_batch("q", 0) == "one"
    versions.reject("one", "nor does this")
    assert versions.serving() is None
    with pytest.raises(VerifyFailed):
        versions.of_batch("q", 0)
