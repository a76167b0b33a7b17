"""A script runs on a rank as ``python script.py`` would run it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from pyspark import cloudpickle

import tritium
from rigs.attended import Attended
from tritium.errors import BadSpec, CodeMissing
from tritium.train.messages import Outcome, Report
from tritium.train.script import script

pytestmark = pytest.mark.process

Run = Callable[..., tuple[Outcome, Attended]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Write a script and a module beside it, and run it on one rank."""
    made: list[Attended] = []

    def start(text: str, *args: str, gone: bool = False) -> tuple[Outcome, Attended]:
        path = tmp_path / "train.py"
        path.write_text(dedent(text))
        (tmp_path / "beside.py").write_text("answer = 42\n")
        call = script(path, args)
        if gone:
            path.unlink()
        made.append(Attended(call, f"script-{os.getpid()}", None, silence_s=60, logs=None))
        outcome, value = made[-1].wait(limit_s=120)
        assert value is None or cloudpickle.loads(value) is None
        return outcome, made[-1]

    yield start
    for attended in made:
        attended.close()


def test_it_has_arguments_a_main_and_the_modules_beside_it(run: Run) -> None:
    outcome, rank = run(
        """
        import argparse, pickle, sys
        import beside, tritium

        class Config:
            epochs = 3

        if __name__ == "__main__":
            parser = argparse.ArgumentParser()
            parser.add_argument("--epochs", type=int)
            print(parser.prog, parser.parse_args().epochs, beside.answer, __file__ == sys.argv[0])
            print(type(pickle.loads(pickle.dumps(Config()))).__module__, tritium.rank().data)
            tritium.rank().report(done=1)
        """,
        "--epochs",
        "7",
    )

    assert outcome.kind == "returned"
    assert rank.lines() == ["train.py 7 42 True", "__main__ None"]
    assert [message.values for message in rank.said if isinstance(message, Report)] == [{"done": 1}]


def test_its_traceback_is_its_own_also_where_the_file_is_not(run: Run) -> None:
    outcome, _ = run("def step():\n    raise ValueError('no rows')\n\nstep()\n", gone=True)

    assert (outcome.kind, outcome.cause) == ("raised", "ValueError: no rows")
    frames = [line.split(", ")[1:] for line in outcome.trace.splitlines() if line.startswith("  File")]
    assert frames == [["line 4", "in <module>"], ["line 2", "in step"]]
    assert "raise ValueError('no rows')" in outcome.trace


@pytest.mark.parametrize(
    ("ending", "kind", "cause"),
    [
        ("", "returned", ""),
        ("sys.exit()", "returned", ""),
        ("sys.exit(0)", "returned", ""),
        ("sys.exit(3)", "exited", "exited with code 3"),
        ("sys.exit('no data')", "exited", "exited with code 1: no data"),
    ],
)
def test_its_exit_code_is_the_ranks(run: Run, ending: str, kind: str, cause: str) -> None:
    outcome, _ = run(f"import sys\n{ending}\n")

    assert (outcome.kind, outcome.cause) == (kind, cause)


def test_a_script_that_cannot_run_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(CodeMissing, match=r"the script .*absent\.py cannot be read: No such file"):
        tritium.Gang(ranks=1).run(tmp_path / "absent.py")
    (tmp_path / "broken.py").write_text("x = 1\ndef (:\n")
    with pytest.raises(CodeMissing, match=r"the script .*broken\.py, line 2 is no Python: invalid syntax"):
        tritium.Gang(ranks=1).run(str(tmp_path / "broken.py"))


def test_arguments_of_the_wrong_kind_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()
    keywords: dict[str, Any] = {"epochs": 3}

    with pytest.raises(BadSpec, match="a script takes args, no keyword arguments: epochs"):
        tritium.Gang(ranks=1).run(tmp_path / "train.py", **keywords)
    with pytest.raises(BadSpec, match="args are for a script"):
        tritium.Gang(ranks=1).run(print, args=["3"])
