"""The rank that failed first is blamed, though a peer of it may raise before its end can be seen."""

from __future__ import annotations

import pytest

from tritium.train.blame import FAILED, is_cause
from tritium.train.messages import Outcome

RAISED = Outcome(kind="raised", cause="RuntimeError: connection closed by peer")
EXITED = Outcome(kind="exited", cause="exited with code 7")


@pytest.mark.parametrize(
    ("later", "blamed", "after_s", "is_it"),
    [
        (EXITED, RAISED, 0.1, True),  # its sockets closed before its end was seen
        (EXITED, RAISED, 5.0, False),
        (RAISED, EXITED, 0.1, False),
        (RAISED, RAISED, 0.1, False),
        (RAISED, RAISED, -0.1, True),
        (EXITED, EXITED, 0.1, False),
        (Outcome(kind="killed", cause="killed by SIGKILL"), RAISED, 5.0, True),
        (Outcome(kind="stopped"), RAISED, -0.1, False),
    ],
)
def test_an_end_without_words_counts_a_little_sooner(
    later: Outcome, blamed: Outcome, after_s: float, *, is_it: bool
) -> None:
    moments = {0: {FAILED: 100.0}, 1: {FAILED: 100.0 + after_s}}

    assert is_cause(1, later, blamed, moments) is is_it
