"""Checkpoints on a real disk: complete or not there, and an attempt that wakes up late changes nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tritium
from tritium.errors import StaleAttempt
from tritium.store.objects import Damaged
from tritium.train import checkpoints
from tritium.train.checkpoints import Checkpoints, begin
from tritium.train.rank import NotInARank


@pytest.fixture(params=["local", "remote"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "kept") if request.param == "local" else f"memory:/{tmp_path}/kept"


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def attempt(where: str, scratch: Path) -> Checkpoints:
    return Checkpoints(where, known=begin(where), scratch=scratch)


def save(kept: Checkpoints, step: int, text: str) -> None:
    kept.commit(step, (kept.put({"state": text.encode()}),))


def found(kept: Checkpoints) -> tuple[int, str] | None:
    latest = kept.latest()
    return (latest.step, (latest.path / "state").read_text()) if latest is not None else None


def test_the_next_attempt_goes_on_where_the_last_complete_checkpoint_is(where: str, scratch: Path) -> None:
    first = attempt(where, scratch)
    assert found(first) is None
    save(first, 10, "ten")
    save(first, 20, "twenty")
    first.put({"state": b"never completed"})

    assert found(first) == (20, "twenty")
    assert found(attempt(where, scratch)) == (20, "twenty")


def test_an_attempt_that_was_given_up_cannot_publish(where: str, scratch: Path) -> None:
    stale = attempt(where, scratch)
    save(stale, 10, "ten")
    later = attempt(where, scratch)

    with pytest.raises(StaleAttempt, match="attempt 1 may not write checkpoints any more"):
        save(stale, 20, "from the dead")
    with pytest.raises(StaleAttempt):
        stale.prune(keep=1)

    assert found(later) == (10, "ten")
    save(later, 15, "fifteen")
    assert found(attempt(where, scratch)) == (15, "fifteen")


def test_an_attempt_that_stalls_while_it_begins_removes_nothing_of_a_later_one(
    where: str, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = checkpoints._moved

    def stalled(*arguments: Any) -> Any:
        """Stand still from when the pointer was moved until a later attempt has saved something."""
        done = moved(*arguments)
        monkeypatch.setattr(checkpoints, "_moved", moved)
        save(attempt(where, scratch), 10, "ten")
        return done

    monkeypatch.setattr(checkpoints, "_moved", stalled)
    begin(where)

    assert found(attempt(where, scratch)) == (10, "ten")


def test_what_every_rank_finds_is_what_was_there_when_the_attempt_began(where: str, scratch: Path) -> None:
    save(attempt(where, scratch), 10, "ten")
    known = begin(where)
    fast, slow = (Checkpoints(where, known=known, scratch=scratch) for _ in range(2))

    save(fast, 20, "twenty")
    fast.prune(keep=1)

    assert found(fast) == (20, "twenty")
    assert found(slow) == (10, "ten"), "else two ranks would go on at different steps"


def test_a_pruned_checkpoint_is_gone_and_the_kept_ones_stay(where: str, scratch: Path) -> None:
    kept = attempt(where, scratch)
    for step in range(5):
        save(kept, step, f"state {step}")

    kept.prune(keep=2)

    assert len(kept._store.objects()) == 2
    assert found(kept) == (4, "state 4")


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, scratch: Path) -> None:
    kept = attempt(str(tmp_path / "kept"), scratch)
    save(kept, 1, "good")
    part = kept.put({"state": b"soon broken"})
    kept.commit(2, (part,))

    (tmp_path / "kept" / "objects" / part / "state").write_bytes(b"soon brok")
    assert found(attempt(str(tmp_path / "kept"), scratch)) == (1, "good")
    shutil.rmtree(tmp_path / "kept" / "objects")
    assert found(attempt(str(tmp_path / "kept"), scratch)) is None


def test_no_rank_falls_back_by_itself_to_an_older_checkpoint_than_the_others(
    tmp_path: Path, scratch: Path
) -> None:
    where = str(tmp_path / "kept")
    before = attempt(where, scratch)
    save(before, 1, "one")
    part = before.put({"state": b"two"})
    before.commit(2, (part,))
    known = begin(where)
    first, second = (Checkpoints(where, known=known, scratch=scratch) for _ in range(2))
    assert found(first) == (2, "two")

    (tmp_path / "kept" / "objects" / part / "state").write_bytes(b"tw")

    with pytest.raises(Damaged, match="is not whole"):
        second.latest()
    assert found(attempt(where, scratch)) == (1, "one"), "decided once, for all ranks of the next attempt"


def test_a_new_attempt_clears_what_was_never_completed(where: str, scratch: Path) -> None:
    dead = attempt(where, scratch)
    save(dead, 1, "one")
    dead.put({"state": b"half"})

    later = attempt(where, scratch)

    assert len(later._store.objects()) == 1
    assert found(later) == (1, "one")


def test_folders_and_files_can_be_saved_as_well_as_bytes(where: str, scratch: Path, tmp_path: Path) -> None:
    kept = attempt(where, scratch)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("w")

    kept.commit(1, (kept.put(tmp_path / "model"), kept.put(tmp_path / "model" / "weights")))

    latest = kept.latest()
    assert latest is not None
    assert [(folder / "weights").read_text() for folder in latest.folders] == ["w", "w"]
    assert not any(scratch.glob("tmp*")), "nothing but fetched copies stays behind"


LATE = """
import sys
from pathlib import Path
from tritium.errors import StaleAttempt
from tritium.train.checkpoints import Checkpoints, begin
where, scratch = sys.argv[1], Path(sys.argv[2])
kept = Checkpoints(where, known=begin(where), scratch=scratch)
kept.commit(1, (kept.put({"state": b"one"}),))
part = kept.put({"state": b"two, too late"})
print("asleep", flush=True)
sys.stdin.readline()
try:
    kept.commit(2, (part,))
    print("published")
except StaleAttempt as err:
    print(err)
"""


@pytest.mark.process
def test_a_stale_process_that_wakes_up_late_publishes_nothing(tmp_path: Path, scratch: Path) -> None:
    where = str(tmp_path / "kept")
    with subprocess.Popen(
        [sys.executable, "-c", LATE, where, str(scratch)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as late:
        assert late.stdout is not None
        assert late.stdout.readline() == "asleep\n"
        later = attempt(where, scratch)
        save(later, 5, "five")

        said, _ = late.communicate("wake up\n", timeout=60)

    assert said == "attempt 1 may not write checkpoints any more: attempt 2 has begun\n"
    assert found(attempt(where, scratch)) == (5, "five")


def test_outside_of_a_rank_there_is_nothing_to_save_for() -> None:
    with pytest.raises(NotInARank):
        tritium.checkpoint.save(1, {"state": b""})
    with pytest.raises(ValueError, match="keep: expected an integer >= 1, got 0"):
        tritium.checkpoint.prune(keep=0)
