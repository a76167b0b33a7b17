"""The command: data on stdout, sentences on stderr, an exit code per cause, and never a traceback."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.documents import changed, write
from pipeline.fakes import FakeEngine, edges
from tritium import cli
from tritium.pipeline.load import load
from tritium.pipeline.run import root_of, run
from tritium.pipeline.state import alone

pytestmark = pytest.mark.process

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def emulated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRITIUM_MACHINE", "dgx-a100")
    monkeypatch.setenv("TRITIUM_DIR", str(tmp_path / "claims"))
    (tmp_path / "project").mkdir()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path / "project"


def called(capsys: Capture, *arguments: str | Path) -> tuple[int, str, str]:
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    return code, captured.out, captured.err


def test_the_version_is_data(capsys: Capture) -> None:
    assert called(capsys, "--version") == (0, "tritium 0.1.0\n", "")


@pytest.mark.parametrize("command", [[], ["plan"], ["explain"], ["run"], ["profile"], ["demo"]])
def test_help_is_there_for_every_command(capsys: Capture, command: list[str]) -> None:
    code, out, _ = called(capsys, *command, "--help")

    assert code == 0
    assert out.startswith("Usage: tritium")


def test_bad_usage_is_exit_code_2(capsys: Capture) -> None:
    code, out, err = called(capsys, "plna")

    assert (code, out) == (2, "")
    assert "No such command 'plna'" in err


def test_plan_prints_the_plan_and_nothing_else(capsys: Capture, project: Path) -> None:
    code, out, err = called(capsys, "plan", write(project))

    assert (code, err) == (0, "")
    assert out.startswith("pipeline digits: 2 Workers of 2 cores, 8 devices emulated (dgx-a100)\n")


def test_plan_prints_json_for_programs(capsys: Capture, project: Path) -> None:
    code, out, _ = called(capsys, "plan", write(project), "--output", "json", "--machine", "two-t4")

    assert code == 0
    assert json.loads(out)["emulatedMachine"] == "two-t4"


def mistaken(project: Path, changes: dict[str, Any]) -> Path:
    return write(project, changed(changes))


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize(
    ("changes", "want"),
    [
        ({"spec.train.rank": 1}, (31, "spec.train.rank: unknown key; did you mean ranks?")),
        (
            {"spec.train.ranks": "two"},
            (31, "spec.train.ranks: expected an integer >= 1, got 'two'"),
        ),
        ({"spec.train.source.path": "nowhere"}, (31, "spec.train.source.path: there is no {0}/nowhere")),
        (
            {"spec.train.run": "digitz:fit"},
            (32, "spec.train.run: there is no module 'digitz' in {0}; did you mean digits?"),
        ),
        (
            {"spec.verify.run": "digits:chek"},
            (
                32,
                "spec.verify.run: module digits ({0}/digits.py) has no function 'chek'; did you mean check?",
            ),
        ),
    ],
)
def test_a_mistake_in_the_file_is_a_sentence_with_its_place(
    capsys: Capture, project: Path, command: str, changes: dict[str, Any], want: tuple[int, str]
) -> None:
    file = mistaken(project, changes)

    code, out, err = called(capsys, command, file)

    assert (code, out) == (want[0], "")
    assert err == f"tritium: {file}: {want[1].format(project)}\n"


def test_all_mistakes_are_told_at_once(capsys: Capture, project: Path) -> None:
    file = mistaken(project, {"kind": "Pipe", "spec.train.ranks": 0, "spec.infer.bach": 1})

    code, _, err = called(capsys, "run", file)

    assert code == 31
    assert len(err.splitlines()) == 3


def test_a_missing_pipeline_file_is_a_sentence(capsys: Capture, project: Path) -> None:
    code, _, err = called(capsys, "plan", project / "none.yaml")

    assert (code, err) == (31, f"tritium: {project}/none.yaml: there is no such file\n")


@pytest.mark.parametrize("command", ["plan", "run"])
def test_more_devices_than_there_are_is_refused_before_spark_starts(
    capsys: Capture, project: Path, command: str
) -> None:
    code, out, err = called(capsys, command, mistaken(project, {"spec.train.ranks": 9}))

    assert (code, out) == (35, "")
    assert "spec.train: 9 ranks with 1 device each of at least 8192 MiB cannot be had on this machine:" in err
    assert "it has 8 devices, of which 8 are healthy and free" in err
    assert "room for 8" in err


def test_a_machine_without_a_driver_has_discoverys_exit_code(capsys: Capture, project: Path) -> None:
    code, _, err = called(capsys, "plan", write(project), "--machine", "no-driver")

    assert code in {10, 11}
    assert err.startswith("tritium: ")


def test_an_unknown_machine_is_a_sentence(capsys: Capture, project: Path) -> None:
    code, _, err = called(capsys, "plan", write(project), "--machine", "dgx-b200")

    assert code == 21
    assert "dgx-b200" in err


def test_a_second_run_is_refused_with_a_sentence(capsys: Capture, project: Path) -> None:
    file = write(project)
    with alone(root_of(load(file)), what="the first"):
        code, out, err = called(capsys, "run", file)

    assert (code, out) == (44, "")
    assert "tritium: pipeline digits is in use by another run (pid " in err


def test_a_finished_pipeline_is_told_again_without_spark_and_without_devices(
    capsys: Capture, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(project)
    run(load(file), edges=edges(FakeEngine()))
    monkeypatch.setenv("TRITIUM_MACHINE", "no-driver")

    code, out, err = called(capsys, "run", file)

    assert code == 0
    assert "verified accuracy   0.97" in out
    assert err.splitlines() == [
        "train: finished before, not run again",
        "verify: finished before, not run again",
        "infer: finished before, not run again",
        f"report: {project}/kept/digits/report.html",
    ]
    assert (project / "kept/digits/report.html").read_text().startswith("<!doctype html>")


def test_run_prints_json_for_programs_and_keeps_things_where_it_is_told(
    capsys: Capture, project: Path
) -> None:
    file = write(project)
    run(load(file, storage=project / "elsewhere"), edges=edges(FakeEngine()))

    code, out, _ = called(capsys, "run", file, "--workdir", project / "elsewhere", "--output", "json")

    data = json.loads(out)
    assert code == 0
    assert data["report"] == f"{project}/elsewhere/digits/report.html"
    assert data["ranNow"] == []
    assert data["stages"]["infer"]["predicted"]["rows"] == 200


def test_debug_shows_the_traceback(project: Path) -> None:
    from tritium.errors import BadSpec

    with pytest.raises(BadSpec):
        cli.main(["--debug", "plan", str(project / "none.yaml")])


def test_ctrl_c_is_exit_code_130_and_a_word(project: Path) -> None:
    file = write(project)
    (project / "digits.py").write_text(
        "import pathlib, time\npathlib.Path('imports').touch()\ntime.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-m", "tritium.cli", "plan", str(file)],
        cwd=project,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not (project / "imports").exists():
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)

    assert (process.returncode, err) == (130, "\ntritium: interrupted\n")


def test_a_place_that_cannot_be_written_is_a_sentence_with_its_path(capsys: Capture, project: Path) -> None:
    file = write(project)
    (project / "plain").write_text("no folder")

    code, out, err = called(capsys, "run", file, "--workdir", project / "plain/below")

    assert (code, out) == (41, "")
    assert err == (
        f"tritium: {project}/plain/below/digits: Not a directory;"
        " choose a folder that you may write, with --workdir for a run\n"
    )


def test_a_reader_that_goes_away_is_no_bug_of_ours(project: Path) -> None:
    script = f"{sys.executable} -m tritium.cli plan {write(project)} | true; echo ${{PIPESTATUS[0]}}"

    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=60, check=True, cwd=project
    )

    assert done.stderr == ""
    assert done.stdout.split() in (["0"], ["141"])
