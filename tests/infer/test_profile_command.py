"""``tritium profile``: golden outputs, and one sentence where there is nothing to say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rigs.reports import task_report
from tritium import cli
from tritium.infer import Run
from tritium.infer.report import write_report

GOLDEN = Path(__file__).with_name("golden") / "profile"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The reports of two micro-batches."""
    made = tmp_path / "nightly"
    for batch in range(2):
        run = Run(call="a0", use=str(batch), query="8e2d", batch=batch)
        for task in range(batch + 1):
            report = task_report(task=task, owner=12 + task, device=f"GPU-{task}", bad=3 * task)
            write_report(report, made, run)
    return made


def called(capsys: Capture, *arguments: str | Path) -> tuple[int, str, str]:
    code = cli.main(["profile", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("output", ["table", "json", "prometheus"])
def test_the_newest_run_is_told_of(capsys: Capture, folder: Path, output: str) -> None:
    code, out, err = called(capsys, folder, "--output", output)

    assert (code, err) == (0, "")
    assert out == (GOLDEN / f"{output}.txt").read_text()


def test_a_table_is_what_it_prints_unless_told_otherwise(capsys: Capture, folder: Path) -> None:
    assert called(capsys, folder) == called(capsys, folder, "--output", "table")


def test_a_micro_batch_may_be_asked_for(capsys: Capture, folder: Path) -> None:
    code, out, _ = called(capsys, folder, "--batch", "0", "--output", "json")

    assert code == 0
    assert json.loads(out)["tasks"] == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none"], "none: No such file or directory"),
        (["file"], "file: Not a directory"),
        (["."], ".: no inference task has left one in this folder"),
        (["nightly", "--batch", "7"], "nightly: no task of micro-batch 7 has left one in this folder"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_where_there_is_nothing_it_says_so_in_a_sentence(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)

    assert called(capsys, *arguments) == (31, "", f"tritium: reports: {sentence}\n")


def test_a_damaged_report_is_named(capsys: Capture, folder: Path) -> None:
    (path,) = folder.glob("*batch=0*/*")
    path.write_text("{")

    code, out, err = called(capsys, folder, "--batch", "0")

    assert (code, out) == (31, "")
    assert err == f"tritium: reports: {path}: it is damaged, or another version of Tritium wrote it\n"


def test_a_micro_batch_that_cannot_be_is_bad_usage(capsys: Capture, folder: Path) -> None:
    code, out, err = called(capsys, folder, "--batch", "-1")

    assert (code, out) == (2, "")
    assert "Invalid value for '--batch': -1 is not in the range x>=0" in err
