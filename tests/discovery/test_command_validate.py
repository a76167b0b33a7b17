"""``gpu-discover validate``: what Spark would do with the answer of any script."""

from __future__ import annotations

from pathlib import Path

import pytest

from rigs.commands import GOLDEN, compare, plain, run
from rigs.jvm import COMMAND
from rigs.processes import assert_pid_gone

pytestmark = pytest.mark.process


def script(directory: Path, text: str) -> str:
    path = directory / "script.sh"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return str(path)


VALIDATED = {
    "good": """echo '{"name": "gpu", "addresses": ["0"]}'""",
    "stock-without-driver": """echo '{"name": "gpu", "addresses":[""]}'""",
    "uuids": """echo '{"name": "gpu", "addresses": ["GPU-1"]}'""",
    "twice": """echo '{"name": "gpu", "addresses": ["0", "0"]}'""",
    "too-few": """echo '{"name": "gpu", "addresses": []}'""",
    "another-resource": """echo '{"name": "fpga", "addresses": ["0"]}'""",
    "warning-first": """echo warning; echo '{"name": "gpu", "addresses": ["0"]}'""",
    "fails": "exit 3",
    "hangs": "exec sleep 60",
}


@pytest.mark.parametrize("name", VALIDATED)
def test_validate_says_of_each_kind_of_script_what_it_said(name: str, tmp_path: Path) -> None:
    path = script(tmp_path, f"#!/bin/sh\n{VALIDATED[name]}\n")

    answer = run(tmp_path, "validate", path, TRITIUM_TIMEOUT_S="0.5" if name == "hangs" else "30")

    compare(plain(answer, tmp_path), GOLDEN / "validate" / f"{name}.txt")


def test_validate_finds_what_sparks_own_script_does_without_a_driver(tmp_path: Path) -> None:
    stock = script(tmp_path, """#!/bin/sh\necho '{"name": "gpu", "addresses":[""]}'\n""")

    answer = run(tmp_path, "validate", stock)

    assert answer.exit_code == 0
    assert answer.stdout.startswith("taken, but: '' is no plain number")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("#!/bin/sh\nexit 3\n", "refused: it exited with code 3"),
        ("#!/bin/sh\nsleep 60\n", "refused: no answer within 0.5 s: Spark would wait for ever"),
        ("#!/no/such/shell\n", "cannot be started: No such file or directory"),
        ("#!/bin/sh\necho hello\n", "refused: there is no JSON at the beginning of the output"),
    ],
)
def test_validate_refuses_what_spark_refuses(text: str, sentence: str, tmp_path: Path) -> None:
    answer = run(tmp_path, "validate", script(tmp_path, text), TRITIUM_TIMEOUT_S="0.5")

    assert answer.exit_code == 24
    assert sentence in answer.stdout


def test_validate_lets_the_script_say_why_and_leaves_nothing_of_it_running(tmp_path: Path) -> None:
    text = f"#!/bin/sh\necho no card here >&2\nsleep 60 &\necho $! > {tmp_path}/pid\nsleep 60\n"

    answer = run(tmp_path, "validate", script(tmp_path, text), TRITIUM_TIMEOUT_S="2")

    assert answer.exit_code == 24
    assert answer.stderr.startswith("no card here\n")
    left = int((tmp_path / "pid").read_text(encoding="ascii"))
    assert_pid_gone(left, within_s=10)


def test_validate_refuses_a_path_with_options(tmp_path: Path) -> None:
    answer = run(tmp_path, "validate", f"{COMMAND} --verbose")

    assert answer.exit_code == 24
    assert "does not exist; Spark takes a path without options" in answer.stdout


def test_validate_accepts_this_script(tmp_path: Path) -> None:
    assert run(tmp_path, "validate", str(COMMAND), "--amount", "2").stdout == "accepted\n"
