"""`tritium explain`: what fits where, what never will and what not now, and an exit code for each."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assign.clusters import cluster, host
from pipeline.documents import changed, write
from tritium import cli
from tritium.assign import Request
from tritium.assign.explain import Question
from tritium.assign.wire import to_json
from tritium_discovery import Settings, discover, holds, state_directory

Capture = pytest.CaptureFixture[str]

TWO = Question(
    snapshot=cluster(host("node-7", 2, held={"node-7-1": "gang 7c1e"})), request=Request(members=2)
)


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the devices of the emulated machine are held."""
    monkeypatch.setenv("TRITIUM_MACHINE", "two-t4")
    monkeypatch.setenv("TRITIUM_DIR", str(tmp_path / "claims"))
    return state_directory(Settings.from_env(os.environ))


def explained(capsys: Capture, *arguments: str | Path) -> tuple[int, str, str]:
    code = cli.main(["explain", *(str(argument) for argument in arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def saved(folder: Path, question: Question, **changes: Any) -> Path:
    file = folder / "snapshot.json"
    file.write_text(json.dumps({**to_json(question), **changes}))
    return file


def test_a_saved_snapshot_is_explained_with_who_holds_what_is_missing(
    capsys: Capture, tmp_path: Path
) -> None:
    code, out, err = explained(capsys, saved(tmp_path, TWO))

    assert (code, err) == (45, "")
    assert out.splitlines() == [
        "request: 2 members with 1 device each",
        "not now",
        "  waits for node-7-1 on node-7, held by gang 7c1e",
        "  node-7 executor: node-7-1: held by gang 7c1e",
        "  2 members with 1 device each, room for 1 (node-7 1)",
    ]


def test_another_request_may_be_asked_of_a_saved_snapshot(capsys: Capture, tmp_path: Path) -> None:
    file = saved(tmp_path, replace(TWO, policy="spread"))

    assert explained(capsys, file, "--request", "{members: 1}")[:2] == (
        0,
        "request: 1 member with 1 device\nfits: 1 member\n  rank 0 (local 0) on node-7 executor: node-7-0\n",
    )
    code, out, _ = explained(capsys, file, "--request", '{"members": 3}', "--output", "json")
    answer = json.loads(out)["request"]
    assert (code, answer["answer"], answer["policy"]) == (35, "can never fit", "spread")
    assert [reason["rule"] for reason in answer["reasons"]] == ["held", "count"]
    assert answer["reasons"][1]["short"] == pytest.approx(2 / 3)


def test_several_requests_are_placed_beside_each_other_the_most_important_first(
    capsys: Capture, tmp_path: Path
) -> None:
    file = saved(tmp_path, TWO)

    code, out, _ = explained(capsys, file, "--request", "[{members: 1}, {members: 1, priority: 1}]")

    assert code == 45
    assert [line for line in out.splitlines() if not line.startswith(" ")] == [
        "request 1: 1 member with 1 device",
        "not now",
        "",
        "request 2: 1 member with 1 device",
        "fits: 1 member",
    ]
    assert "  waits for node-7-0 on node-7, held by request 2" in out


def test_whoever_reads_an_answer_about_emulated_devices_is_told(capsys: Capture, tmp_path: Path) -> None:
    said = "the devices are emulated: machine two-t4\n"

    assert explained(capsys, "--request", "{members: 1}", "--machine", "two-t4")[2] == said
    assert explained(capsys, saved(tmp_path, TWO), "--machine", "two-t4")[2] == ""


def test_the_stages_of_a_pipeline_are_explained_on_this_machine(capsys: Capture, tmp_path: Path) -> None:
    code, out, _ = explained(capsys, write(tmp_path))

    assert code == 0
    assert [line for line in out.splitlines() if not line.startswith(" ")] == [
        "train: 2 members with 1 device each (8192 MiB)",
        "fits: 2 members",
        "",
        "infer: 2 members with a share of 4096 MiB each (512 MiB)",
        "fits: 2 members",
    ]


def test_a_pipeline_that_waits_for_somebody_is_told_from_one_that_can_never_run(
    capsys: Capture, tmp_path: Path, state: Path
) -> None:
    for name in ("fits", "large"):
        (tmp_path / name).mkdir()
    fits = write(tmp_path / "fits")
    large = write(tmp_path / "large", changed({"spec.train.ranks": 3}))
    one, _ = discover(Settings(machine="two-t4")).devices

    with holds.take([one.uuid], what="another job", directory=state):
        waits, never = explained(capsys, fits), explained(capsys, large, "--output", "json")

    assert waits[0] == 45
    assert f"  waits for {one.uuid} on " in waits[1]
    assert "held by another job (pid " in waits[1]
    assert never[0] == 35
    assert {name: stage["answer"] for name, stage in json.loads(never[1]).items()} == {
        "train": "can never fit",
        "infer": "fits",
    }


def test_without_a_file_this_machine_is_asked(capsys: Capture, state: Path) -> None:
    one, _ = discover(Settings(machine="two-t4")).devices
    with holds.take([one.uuid], what="another job", directory=state):
        assert explained(capsys, "--request", "{members: 1, product: T4}")[0] == 0
        assert explained(capsys, "--request", "{members: 2}")[0] == 45
    assert explained(capsys, "--request", "{members: 2}")[0] == 0
    assert explained(capsys, "--request", "{members: 8}", "--machine", "dgx-a100")[0] == 0
    assert explained(capsys, "--request", "{members: 1, product: H100}")[0] == 35
    assert not holds.held(state)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "explain: name a file, or say with --request what is asked of this machine"),
        (["none.json"], "none.json: there is no such file"),
        (["none.yaml"], "none.yaml: there is no such file"),
        (
            ["x.yaml", "--request", "{members: 1}"],
            "x.yaml: its stages say what they ask for: leave out --request",
        ),
        (["--request", "{members: two}"], "--request: $.members: expected int, got 'two'"),
        (
            ["--request", "{members: 1, near: here}"],
            "--request: $.near: expected one of 'host', 'switch', 'nv",
        ),
        (["--request", "{members: 0}"], "--request: members is 0, at least 1 needed"),
        (["--request", "{members"], "--request: '{members' is no YAML"),
        (["--request", "4"], "--request: $: expected dict, got 4"),
    ],
)
def test_a_mistake_is_a_sentence(capsys: Capture, arguments: list[str], sentence: str) -> None:
    code, out, err = explained(capsys, *arguments)

    assert (code, out) == (31, "")
    assert err.startswith(f"tritium: {sentence}")
    assert len(err.splitlines()) == 1


def test_what_is_no_saved_snapshot_is_refused_with_the_place(capsys: Capture, tmp_path: Path) -> None:
    for changes, sentence in (
        ({"policy": "fastest"}, "policy: 'fastest' is unknown; there are packed, spread"),
        ({"snapshot": {"hosts": [{"id": 7}]}}, "$.snapshot.hosts[0].id: expected str, got 7"),
        ({"request": {"members": 1, "group": 0}}, "group is 0, at least 1 needed"),
    ):
        wrong = saved(tmp_path, TWO, **changes)
        assert explained(capsys, wrong) == (31, "", f"tritium: {wrong}: {sentence}\n")
    file = tmp_path / "broken.json"
    file.write_text("{")
    code, _, err = explained(capsys, file)
    assert code == 31
    assert err.startswith(f"tritium: {file}: is no saved snapshot: ")
