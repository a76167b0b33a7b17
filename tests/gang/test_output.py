"""What an attempt leaves appears when it has succeeded, and nothing of an attempt that has not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tritium.errors import CannotPublish, GangLost
from tritium.train.output import own_output


def leave(output: Path, text: str) -> None:
    with own_output(output) as own:
        assert own is not None
        (own / "model").mkdir()
        (own / "model" / "weights").write_text(text)
        (own / "notes").write_text(text)
        assert not (output / "notes").exists() or (output / "notes").read_text() != text


def test_the_files_of_the_attempt_that_succeeded_take_the_place_of_older_ones(tmp_path: Path) -> None:
    leave(tmp_path / "out", "old")

    leave(tmp_path / "out", "new")

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model", "notes"]
    assert (tmp_path / "out/model/weights").read_text() == "new"


def test_an_attempt_that_failed_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with own_output(tmp_path / "out") as own:
            assert own is not None
            (own / "half").touch()
            raise GangLost("executor 1 went away")

    with pytest.raises(GangLost):
        fail()

    assert list((tmp_path / "out").iterdir()) == []


def test_what_cannot_be_moved_is_a_sentence_that_says_where_it_is(tmp_path: Path) -> None:
    def lose() -> None:
        with own_output(tmp_path / "out") as own:
            assert own is not None
            own.rename(tmp_path / "taken away")

    with pytest.raises(CannotPublish, match=r"the output stays in .*\.attempt-\w+, it cannot be moved to"):
        lose()
    (tmp_path / "file").touch()
    with pytest.raises(CannotPublish, match="there can be no output in"):
        leave(tmp_path / "file", "x")
