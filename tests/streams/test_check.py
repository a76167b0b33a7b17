"""What a check of a model returns: nothing, or something true, lets it serve."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tritium.streams.load import _CheckTask

MODEL = Path("model")


@pytest.mark.parametrize("verdict", [None, True, np.True_, np.float64(0.5) > 0.1, 1, "good"])
def test_nothing_and_what_is_true_lets_a_model_pass(verdict: object) -> None:
    assert _CheckTask(check=lambda _: verdict, path=MODEL)._why() is None


@pytest.mark.parametrize("verdict", [False, np.False_, np.float64(0.5) > 0.9, 0, ""])
def test_what_is_not_true_rejects_it(verdict: object) -> None:
    assert _CheckTask(check=lambda _: verdict, path=MODEL)._why() == f"its check returned {verdict!r}"


def test_an_answer_that_is_neither_rejects_it() -> None:
    why = _CheckTask(check=lambda _: np.array([True, True]), path=MODEL)._why()

    assert why is not None
    assert why.startswith("ValueError: The truth value of an array")
