"""What tasks report is kept by run: one that is over, or older, is never added to another."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigs.reports import task_report
from tritium.errors import BadSpec
from tritium.infer import Run, TaskReport, read_reports, runs
from tritium.infer.report import write_report

ONCE, AGAIN = Run(call="a0", use="9"), Run(call="a0", use="10")
WORDS = st.from_regex(r"\w+", fullmatch=True)


def wrote(folder: Path, run: Run, *reports: TaskReport, at: int) -> None:
    """Write reports ``at`` a second of the disk's clock."""
    for report in reports:
        write_report(report, folder, run)
    os.utime(folder / run.name, (at, at))


def tasks(count: int) -> Iterable[TaskReport]:
    return (task_report(task=task) for task in range(count))


def of_batch(batch: int, *, query: str = "8e2d-4f", call: str = "a0") -> Run:
    return Run(call=call, use=str(batch), query=query, batch=batch)


def test_reports_come_back_as_they_were_written_by_task(tmp_path: Path) -> None:
    written = (task_report(), replace(task_report(), task=1, device=None), task_report(stage=4))

    for report in reversed(written):
        write_report(report, tmp_path, ONCE)

    assert read_reports(tmp_path) == written


def test_a_folder_that_is_used_again_has_the_newest_run_and_no_task_of_another(tmp_path: Path) -> None:
    wrote(tmp_path, AGAIN, *tasks(3), at=200)
    wrote(tmp_path, ONCE, *tasks(5), at=100)

    assert [report.task for report in read_reports(tmp_path)] == [0, 1, 2]
    assert runs(tmp_path) == (ONCE, AGAIN)


def test_a_repeated_task_replaces_its_own_report(tmp_path: Path) -> None:
    write_report(task_report(pid=1), tmp_path, ONCE)
    write_report(task_report(pid=2), tmp_path, ONCE)

    assert [report.pid for report in read_reports(tmp_path)] == [2]
    assert len(list((tmp_path / ONCE.name).iterdir())) == 1, "and leaves no draft"


def test_a_streams_reports_are_read_by_micro_batch(tmp_path: Path) -> None:
    for batch in range(3):
        wrote(tmp_path, of_batch(batch), *tasks(batch + 1), at=batch)
    wrote(tmp_path, of_batch(1, call="b1"), *tasks(7), at=50)

    assert len(read_reports(tmp_path, batch=2)) == 3
    assert len(read_reports(tmp_path, batch=1)) == 7, "a batch that was repeated is told of as it was last"
    assert len(read_reports(tmp_path)) == 7
    assert read_reports(tmp_path, batch=3) == ()


def test_a_stream_leaves_the_last_hundred_batches_and_no_more(tmp_path: Path) -> None:
    for batch in range(130):
        wrote(tmp_path, of_batch(batch), *tasks(2), at=batch)

    assert [run.batch for run in runs(tmp_path)] == list(range(30, 130))
    assert len(list(tmp_path.rglob("*.json"))) == 200


def test_a_run_that_newer_ones_pushed_out_takes_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pushed_out(_: int) -> str:
        shutil.rmtree(tmp_path / ONCE.name)
        return "draft"

    monkeypatch.setattr("tritium.infer.report.secrets", SimpleNamespace(token_hex=pushed_out))
    write_report(task_report(), tmp_path, ONCE)

    assert read_reports(tmp_path) == ()


def test_what_is_no_run_of_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "task-00000.json").write_text("{}")

    assert read_reports(tmp_path) == ()


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadSpec, match=f"^reports: {tmp_path}/none: No such file or directory$"):
        read_reports(tmp_path / "none")


@pytest.mark.parametrize(
    "damage", ["", "[]", "{}", '{"busy": 3}', json.dumps({"busy": [], "task": 1}), "\udcff"], ids=repr
)
def test_a_damaged_report_is_a_sentence_that_names_it(tmp_path: Path, damage: str) -> None:
    write_report(task_report(), tmp_path, ONCE)
    (path,) = (tmp_path / ONCE.name).iterdir()
    path.write_bytes(damage.encode(errors="surrogateescape"))

    with pytest.raises(BadSpec) as caught:
        read_reports(tmp_path)

    assert str(caught.value) == f"reports: {path}: it is damaged, or another version of Tritium wrote it"


@given(call=WORDS, use=WORDS, stream=st.none() | st.tuples(st.uuids().map(str), st.integers(min_value=0)))
def test_a_runs_name_says_all_of_it(call: str, use: str, stream: tuple[str, int] | None) -> None:
    query, batch = stream or (None, None)
    run = Run(call=call, use=use, query=query, batch=batch)

    assert Run.named(run.name) == run
