"""A micro-batch has one version of the model for ever, and a version that fails its check never serves."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from pipeline.documents import write
from pipeline.fakes import FakeEngine, edges
from streams.messages import publish
from tritium.errors import VerifyFailed
from tritium.pipeline.load import load
from tritium.pipeline.run import root_of, run
from tritium.streams import Versions

BAD = 9000


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    return Versions(store=tmp_path / "store", state=tmp_path / "state")


def verdict(path: Path) -> str | None:
    return "it guesses" if (path / "plus").read_text() == str(BAD) else None


def served(versions: Versions, plus: float) -> str:
    """Publish a version, which passes."""
    version = publish(versions, plus)
    assert versions.look(verdict) is None
    return version


def test_a_stream_follows_what_a_pipeline_verified_and_takes_its_pointer_back(tmp_path: Path) -> None:
    pipeline = load(write(tmp_path))
    versions = Versions(store=root_of(pipeline), state=tmp_path / "state")

    def serves() -> str:
        return (versions.path(versions.of_batch("q", 0)) / "model.txt").read_text()

    first = run(pipeline, edges=edges(FakeEngine(model="good"))).records["train"].output
    assert versions.look(lambda _: None) is None
    assert serves() == "good"
    (pipeline.code / "helper.py").write_text("x = 1\n")
    second = run(pipeline, edges=edges(FakeEngine(model="worse"))).records["train"].output
    assert versions.current() == versions.path(second)

    assert versions.look(lambda _: "no") == f"version {second} of the model was rejected: no"

    assert versions.wanted() == first
    assert serves() == "good"
    (pipeline.code / "helper.py").write_text("x = 2\n")
    third = run(pipeline, edges=edges(FakeEngine(model="best"))).records["train"].output
    assert versions.look(lambda _: None) is None
    assert versions.serving() == third


def test_a_repeated_batch_uses_the_version_that_it_had_though_another_serves_now(versions: Versions) -> None:
    one = served(versions, 1)
    assert versions.of_batch("q", 0) == one

    two = served(versions, 2)

    assert (versions.of_batch("q", 0), versions.of_batch("q", 1)) == (one, two)


def test_the_first_of_a_batchs_tasks_decides_for_all_of_them(versions: Versions) -> None:
    served(versions, 1)
    start, found = threading.Barrier(9), []

    def task() -> None:
        start.wait()
        found.append([versions.of_batch("q", batch) for batch in range(20)])

    def swap() -> None:
        start.wait()
        for _ in range(20):
            served(versions, 2)
            served(versions, 1)

    threads = [threading.Thread(target=task) for _ in range(8)] + [threading.Thread(target=swap)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({tuple(seen) for seen in found}) == 1
    assert not list((versions.state / "batches").rglob(".*"))


def test_a_version_that_fails_its_check_is_rolled_back_and_not_tried_again(versions: Versions) -> None:
    one = served(versions, 1)
    bad = publish(versions, BAD)

    assert versions.look(verdict) == f"version {bad} of the model was rejected: it guesses"

    assert versions.wanted() == versions.serving() == one
    assert versions.rejected(bad) == "it guesses"
    publish(versions, BAD)
    assert versions.look(lambda _: pytest.fail("it was checked again")) is not None
    assert versions.of_batch("q", 0) == one


def test_a_version_that_is_not_whole_is_rolled_back_too(versions: Versions) -> None:
    one = served(versions, 1)
    two = publish(versions, 2)
    (versions.path(two) / "plus").write_text("3")

    assert versions.look(lambda _: pytest.fail("it was checked")) == (
        f"version {two} of the model was rejected: {versions.path(two)} is not whole"
    )
    assert versions.wanted() == one


def test_a_pointer_that_was_moved_on_during_a_check_stays_there(versions: Versions) -> None:
    served(versions, 1)
    bad, moved = publish(versions, BAD), []

    def slow(_: Path) -> str:
        moved.append(publish(versions, 2))
        return "no"

    assert versions.look(slow) == f"version {bad} of the model was rejected: no"
    assert [versions.wanted()] == moved


def test_a_pointer_that_cannot_go_back_is_told(versions: Versions) -> None:
    one = served(versions, 1)
    publish(versions, BAD)
    shutil.rmtree(versions.path(one))

    sentence = versions.look(verdict)

    assert sentence is not None
    assert sentence.endswith(f"it guesses; the pointer model cannot be moved: object {one} is not whole")


def test_without_any_version_that_passed_a_batch_fails(versions: Versions) -> None:
    assert versions.look(verdict) is None
    bad = publish(versions, BAD)
    assert versions.look(verdict) is not None
    assert versions.wanted() == bad

    with pytest.raises(VerifyFailed, match=r"no version of the model in .* has passed its check yet"):
        versions.of_batch("q", 0)


def test_a_batch_job_takes_what_the_pointer_names_now(versions: Versions) -> None:
    with pytest.raises(VerifyFailed, match=r"the pointer model of the store .* names no model"):
        versions.current()
    for plus in (1, 2):
        wanted = publish(versions, plus)
        assert versions.current() == versions.path(wanted)
    bad = publish(versions, BAD)
    versions.reject(bad, "it guesses")
    with pytest.raises(VerifyFailed, match=f"version {bad} of the model was rejected: it guesses"):
        versions.current()


def test_tasks_find_the_folders_in_whatever_folder_they_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    versions = Versions(store=Path("store"), state=Path("state"))
    monkeypatch.chdir("/")

    assert (versions.store, versions.state) == (tmp_path / "store", tmp_path / "state")


def test_old_records_go(versions: Versions) -> None:
    served(versions, 1)

    for batch in (0, 1, 1000):
        versions.of_batch("q", batch)

    assert sorted(path.name for path in (versions.state / "batches" / "q").iterdir()) == ["1.0", "1000.0"]


def test_another_query_has_batches_of_its_own(versions: Versions) -> None:
    one = served(versions, 1)
    versions.of_batch("old", 0)
    two = served(versions, 2)

    assert (versions.of_batch("new", 0), versions.of_batch("old", 0)) == (two, one)


def test_a_version_that_does_not_work_after_all_is_taken_out_and_its_batch_gets_another(
    versions: Versions,
) -> None:
    one, two = served(versions, 1), served(versions, 2)
    assert versions.of_batch("q", 0) == two

    versions.reject(two, "it does not load")

    assert versions.serving() == versions.wanted() == one
    assert versions.of_batch("q", 0) == one
    versions.reject(one, "nor does this")
    assert versions.serving() is None
    with pytest.raises(VerifyFailed):
        versions.of_batch("q", 0)


def test_of_several_versions_that_do_not_work_after_all_the_newest_other_one_serves(
    versions: Versions,
) -> None:
    one, two, three = (served(versions, plus) for plus in (1, 2, 3))

    for bad, newest in ((three, two), (two, one)):
        versions.reject(bad, "it does not load")

        assert versions.serving() == versions.wanted() == versions.of_batch("q", 0) == newest


def test_a_version_that_is_not_whole_any_more_does_not_serve_again(versions: Versions) -> None:
    one, two, three = (served(versions, plus) for plus in (1, 2, 3))
    shutil.rmtree(versions.path(two))

    versions.reject(three, "it does not load")

    assert versions.serving() == versions.wanted() == one


def test_a_version_that_served_is_forgotten_after_ten_others(versions: Versions) -> None:
    ids = [served(versions, plus) for plus in range(11)]

    for bad in reversed(ids[2:]):
        versions.reject(bad, "it does not load")
    assert versions.serving() == ids[1]
    versions.reject(ids[1], "it does not load")

    assert versions.serving() is None


def test_a_rejection_that_was_killed_in_the_middle_counts_and_the_next_look_ends_it(
    versions: Versions,
) -> None:
    one, two = served(versions, 1), served(versions, 2)
    (versions.state / "rejected").mkdir()
    (versions.state / "rejected" / two).write_text("it does not load")

    assert versions.of_batch("q", 0) == one
    assert versions.look(verdict) == f"version {two} of the model was rejected: it does not load"
    assert versions.wanted() == versions.serving() == one


def test_a_version_that_somebody_rejects_while_its_check_is_at_work_does_not_serve(
    versions: Versions,
) -> None:
    one = served(versions, 1)
    two = publish(versions, 2)

    def slow(_: Path) -> None:
        versions.reject(two, "I know better")

    assert versions.look(slow) == f"version {two} of the model was rejected: I know better"
    assert versions.wanted() == versions.serving() == one
