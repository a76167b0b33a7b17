"""The report tells a run truly, escapes everything, and needs nothing from outside."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.documents import write
from pipeline.fakes import FakeEngine, edges
from tritium.errors import GangLost, RankFailed, VerifyFailed
from tritium.pipeline.load import load
from tritium.pipeline.report import Story, render
from tritium.pipeline.results import Record, Told, Trained, Verified
from tritium.pipeline.run import Run, run
from tritium.pipeline.run_view import as_data, as_text
from tritium.pipeline.spec import Pipeline
from tritium.pipeline.timeline import timeline


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return load(write(tmp_path))


def story(pipeline: Pipeline, done: Run, *, machine: str | None = "dgx-a100") -> Story:
    facts: Mapping[str, str] = {"Spark": "4.2.0", "host": "<node & co>"}
    return Story(pipeline=pipeline, run=done, plan=None, machine=machine, facts=facts)


class Outside(HTMLParser):
    """Collects open tags, and whatever a page would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "line", "rect", "br"):
            self.open.append(tag)
        self.fetched += [f"{tag} {name}" for name, _ in attrs if name in ("src", "href", "srcset", "onload")]
        if tag in ("script", "link", "iframe", "img"):
            self.fetched.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("line", "rect"):
            return
        assert self.open.pop() == tag


def test_the_page_is_whole_and_fetches_nothing(pipeline: Pipeline) -> None:
    page = render(story(pipeline, run(pipeline, edges=edges(FakeEngine()))))

    parser = Outside()
    parser.feed(page)

    assert parser.open == []
    assert parser.fetched == []
    assert "url(" not in page
    assert "http" not in page


def test_the_page_says_what_happened_where(pipeline: Pipeline) -> None:
    page = render(story(pipeline, run(pipeline, edges=edges(FakeEngine()))))

    text = re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL)
    for words in ("trained by 2 ranks", "used on 200 rows", "0.97", "100", "GPU-0", "executor 1", "dgx-a100"):
        assert words in text, words
    assert "The devices are" in text
    assert "&lt;node &amp; co&gt;" in page


def test_the_page_says_where_the_time_went_and_what_held_it_up(pipeline: Pipeline) -> None:
    page = render(story(pipeline, run(pipeline, edges=edges(FakeEngine()))))

    text = " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL).split())
    assert "4 calls of the model, 50 rows each on average; it was busy: GPU-0 50%" in text
    assert (
        "The rows: 1 task reads 1 row group of 1 Parquet file itself. The bottleneck: preprocess took 40%"
        in text
    )
    assert "preprocess 1.20 40%" in text


def test_on_real_hardware_nothing_is_called_emulated(pipeline: Pipeline) -> None:
    page = render(story(pipeline, run(pipeline, edges=edges(FakeEngine())), machine=None))

    assert "emulated" not in page
    assert "real hardware" in page


def test_a_run_that_stopped_says_why_and_what_was_tried(pipeline: Pipeline) -> None:
    engine = FakeEngine(accuracy=0.5, fails={"train": [GangLost("executor <1> was lost")]})

    done = run(pipeline, edges=edges(engine))
    page = render(story(pipeline, done))

    assert isinstance(done.error, VerifyFailed)
    assert "stopped" in page
    assert "accuracy 0.5, at least 0.95 needed" in page
    assert "An earlier attempt failed: executor &lt;1&gt; was lost." in page
    assert "verify failed" in page


def test_a_failed_rank_has_its_own_traceback_in_the_report(pipeline: Pipeline) -> None:
    error = RankFailed(gang="train", rank=1, cause="ValueError: <no>", trace="line 3 of <digits.py>")

    page = render(story(pipeline, Run(records={}, done_now=(), error=error)))

    assert "train: rank 1 failed: ValueError: &lt;no&gt;" in page
    assert "line 3 of &lt;digits.py&gt;" in page


def test_a_run_that_failed_at_once_has_a_report_too(pipeline: Pipeline) -> None:
    done = Run(records={}, done_now=(), error=GangLost("gone"))

    assert "gone" in render(story(pipeline, done))
    assert as_text(story(pipeline, done)) == ""


def test_numbers_that_ranks_reported_are_drawn_per_rank(pipeline: Pipeline) -> None:
    done = run(pipeline, edges=edges(FakeEngine()))
    trained = done.records["train"].trained
    assert trained is not None
    told = tuple(
        Told(rank=rank, at=float(epoch), values={"epoch": epoch, "loss": 1 / epoch, "note": "x"})
        for epoch in (1, 2, 3)
        for rank in (0, 1)
    )
    record = replace(done.records["train"], trained=replace(trained, told=told))

    page = render(story(pipeline, replace(done, records={**done.records, "train": record})))

    assert page.count("<polyline") == 2
    assert 'points="0.00,0.00 50.00,50.00 100.00,66.67"' in page


def record(began: float, ended: float) -> Record:
    return Record(
        stage="verify", key="", began=began, ended=ended, failed=(), output="", verified=Verified(metrics={})
    )


def test_a_long_pause_between_stages_is_cut_out_of_the_timeline() -> None:
    drawn = timeline({"train": record(0, 10), "infer": record(10_000, 10_010)}, {})

    bars = drawn.lanes[0].bars
    assert [(round(bar.start), round(bar.length)) for bar in bars] == [(0, 40), (60, 40)]
    assert drawn.cuts == ((50.0, "2.77 h later"),)


def test_the_phases_of_a_gang_stand_one_after_the_other_up_to_its_stages_end() -> None:
    phases = {"queue": 1.0, "launch": 2.0, "run": 5.0}
    trained = Trained(metrics={}, ranks=(), phases=phases, told=())
    train = replace(record(0, 10), stage="train", verified=None, trained=trained)

    lane = timeline({"train": train}, {}).lanes[1]

    assert [(bar.label, round(bar.start), round(bar.length)) for bar in lane.bars] == [
        ("queue", 20, 10),
        ("launch", 30, 20),
        ("run", 50, 50),
    ]
    assert lane.detail == "ran after 3.0 s"


def test_a_timeline_of_nothing_has_no_lanes() -> None:
    assert timeline({}, {}).lanes == ()


def test_stdout_has_the_tables_and_the_numbers(pipeline: Pipeline) -> None:
    shown = as_text(story(pipeline, run(pipeline, edges=edges(FakeEngine()))))

    assert shown == (
        "rank  executor    device  product\n"
        "   0  executor 0  GPU-0   NVIDIA A100\n"
        "   1  executor 1  GPU-0   NVIDIA A100\n"
        "\n"
        "inference task  executor    device  product      rows  rows/s\n"
        "             0  executor 0  GPU-0   NVIDIA A100   200     100\n"
        "\n"
        "verified accuracy   0.97\n"
        "verified loss       0.1\n"
        "rows predicted      200\n"
        "rows/s once loaded  100\n"
        "reading             1 task reads 1 row group of 1 Parquet file itself\n"
        "bottleneck          preprocess took 40% of the tasks' time; more cores per device "
        "(spark.executor.cores), or doing it on the device, would help (the model was busy 50% of the time)\n"
        f"predictions         {pipeline.storage.parent}/out/predictions"
    )


def test_data_for_programs_has_every_stage_and_no_numbers_that_json_lacks(pipeline: Pipeline) -> None:
    done = run(pipeline, edges=edges(FakeEngine()))
    verify = replace(done.records["verify"], verified=Verified(metrics={"accuracy": float("nan")}))

    data = as_data(
        story(pipeline, replace(done, records={**done.records, "verify": verify})), report=Path("r")
    )

    assert data["ranNow"] == ["train", "verify", "infer"]
    assert data["stages"]["verify"]["verified"]["metrics"] == {"accuracy": None}
    assert data["stages"]["infer"]["predicted"]["rows"] == 200
