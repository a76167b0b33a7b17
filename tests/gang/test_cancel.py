"""A run is cancelled from any thread, whatever it is doing, and once is enough."""

from __future__ import annotations

import pytest

from tritium.errors import GangCancelled
from tritium.train.cancel import Cancel


def test_a_run_is_found_while_it_is_in_progress_and_not_after() -> None:
    among: set[Cancel] = set()

    with Cancel.noted(among, "train") as cancel:
        assert among == {cancel}
    assert not among


def test_who_asks_while_ranks_run_ends_them() -> None:
    cancel, ended = Cancel("train"), []

    cancel.check()
    with cancel.ending(lambda: ended.append("meeting")):
        cancel.ask()
        cancel.ask()

    assert ended == ["meeting", "meeting"], "a meeting that is cancelled twice is cancelled once"


def test_who_asks_before_ranks_run_is_heard_all_the_same() -> None:
    cancel = Cancel("train")
    cancel.ask()

    with pytest.raises(GangCancelled, match=r"^train: was cancelled$"):
        cancel.check()
    with pytest.raises(GangCancelled), cancel.ending(lambda: None):
        raise AssertionError("nothing may start")


def test_who_asks_after_the_end_ends_nothing() -> None:
    cancel, ended = Cancel("train"), []
    with cancel.ending(lambda: ended.append("meeting")):
        pass

    cancel.ask()

    assert ended == []
