"""The short fault suite: whoever is hit, nothing is left behind and the error names the cause."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from faults.kinds import Fault, every, some
from faults.suite import Suite

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    folder = tmp_path_factory.mktemp("faults")
    (folder / "state").mkdir(mode=0o700)
    running = Suite(folder)
    yield running
    running.close()


@pytest.mark.parametrize("fault", list(some()), ids=lambda one: f"{one.who} {one.kind} at {one.phase}")
def test_nothing_is_left_behind_and_the_cause_is_named(suite: Suite, fault: Fault) -> None:
    outcome = suite.inject(fault)

    assert outcome.good, outcome


def test_the_full_suite_has_at_least_two_hundred_faults_of_everybody_at_every_phase() -> None:
    faults = set(every())

    assert len(faults) >= 200
    assert {fault.who for fault in faults} >= {
        "rank", "guardian", "worker", "daemon", "fork server", "executor", "driver", "driver jvm", "cancel",
    }  # fmt: skip
    assert {fault.phase for fault in faults if fault.who == "cancel"} >= {
        "start", "rendezvous", "step", "checkpoint", "end",
    }  # fmt: skip
