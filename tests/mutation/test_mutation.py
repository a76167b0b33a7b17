"""The mutation run: what it changes, and that it tells a mutant that is caught from one that is not."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from mutation import run


def unparsed(source: str) -> list[str]:
    return [ast.unparse(tree) for _, _, tree in run.mutants(source)]


@pytest.mark.parametrize(
    ("source", "changed"),
    [
        ("f(a < b)", ["f(a <= b)", "f(a >= b)"]),
        ("f(a < b > c)", ["f(a <= b > c)", "f(a >= b > c)", "f(a < b >= c)", "f(a < b <= c)"]),
        ("f(a is None)", ["f(a is not None)"]),
        ("f(a and b)", ["f(a or b)"]),
        ("f(-a)", ["f(a)"]),
        ("f(min(a))", ["f(max(a))"]),
        ("f(a // b)", ["f(a)"]),
        ("f(2)", ["f(3)"]),
        ("f(True)", []),
        ("LIMIT = 2", []),
    ],
)
def test_a_line_is_changed_to_each_that_could_be_meant_instead(source: str, changed: list[str]) -> None:
    assert unparsed(source) == changed


@pytest.mark.process
def test_every_mutant_of_the_algorithm_is_caught_but_for_those_that_change_nothing() -> None:
    done = subprocess.run(
        [sys.executable, run.__file__, "decide"], check=False, capture_output=True, text=True, timeout=280
    )

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "the same is asked once more" in done.stdout
    assert "SURVIVED" not in done.stdout
