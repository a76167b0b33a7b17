"""The short fault suite: whoever is hit, nothing is left behind and the error names the cause."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from faults.kinds import LAUNCH, PHASES, SAVING, Fault, every, some
from faults.published import wrong
from faults.suite import Suite
from tritium.train.book import Book, Saved

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    folder = tmp_path_factory.mktemp("faults")
    (folder / "state").mkdir(mode=0o700)
    running = Suite(folder)
    yield running
    running.close()


@pytest.mark.parametrize("fault", list(some()), ids=str)
def test_nothing_is_left_behind_and_the_cause_is_named(suite: Suite, fault: Fault) -> None:
    outcome = suite.inject(fault)

    assert outcome.good, outcome


def test_the_full_suite_has_at_least_two_hundred_faults_of_everybody_at_every_phase() -> None:
    faults = set(every())

    assert len(faults) >= 200
    assert {fault.who for fault in faults} >= {
        "rank", "guardian", "worker", "daemon", "fork server", "executor", "driver", "driver jvm", "cancel",
    }  # fmt: skip
    assert {fault.phase for fault in faults if fault.who == "cancel"} >= {LAUNCH, *PHASES}
    assert {fault.who for fault in faults if fault.phase == LAUNCH} >= {
        "guardian", "worker", "daemon", "fork server", "executor", "driver", "driver jvm", "cancel",
    }  # fmt: skip
    assert {(fault.who, fault.phase) for fault in faults if fault.retried} >= set(
        itertools.product(("rank", "guardian", "worker", "executor", "machine"), SAVING)
    )


def test_a_checkpoint_of_a_stale_attempt_or_of_two_is_found() -> None:
    def saved(*steps: int) -> tuple[Saved, ...]:
        return tuple(Saved(step=step, parts=()) for step in steps)

    first = [(Book(attempt=1), {}), (Book(attempt=1, saved=saved(1)), {1: {0}})]
    again = (Book(attempt=2, saved=saved(1)), {1: {0}})

    assert wrong([*first, again, (Book(attempt=2, saved=saved(1, 2)), {1: {0}, 2: {1}})], [1, 1]) == []
    assert wrong([*first, again, (Book(attempt=2, saved=saved(1, 2)), {1: {0}, 2: {0}})], [1, 1])
    assert wrong([*first, again, (Book(attempt=2, saved=saved(1, 2)), {1: {0}, 2: {0, 1}})], [1, 1])
    assert wrong([*first, again], [1, 0])
    assert wrong([*first, again], [0, 0])
