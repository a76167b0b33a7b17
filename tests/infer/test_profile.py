"""What the reports of many tasks say together: shares of time, and one sentence on the bottleneck."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest

from rigs.reports import task_report
from tritium.infer.clock import Clock
from tritium.infer.prepare import Prepare
from tritium.infer.profile import STEPS, merged, prometheus, table


def test_tasks_side_by_side_add_up() -> None:
    profile = merged(
        [task_report(task=0), task_report(task=1, owner=13, device="GPU-1", rows=100, began=6.0)]
    )

    assert (profile.tasks, profile.owners, profile.rows, profile.batches) == (2, 2, 300, 8)
    assert profile.mean_batch == 37.5
    assert profile.seconds == 6
    assert profile.steps["preprocess"] == 2.4
    assert profile.rows_per_s == 100, "the first model was there at 6 s, the last row at 9 s"


def test_tasks_that_feed_one_owner_share_its_counter() -> None:
    early = task_report(busy=(0.0, 4.0, 100.0, 105.0))
    late = task_report(busy=(3.0, 9.0, 104.0, 110.0))

    assert merged([early, late]).busy == {"GPU-0": 0.9}


def test_owners_that_had_a_device_one_after_the_other_count_when_they_had_it() -> None:
    first = task_report(busy=(0.0, 10.0, 100.0, 110.0))
    second = task_report(owner=13, busy=(0.0, 0.0, 200.0, 210.0))

    assert merged([first, second]).busy == {"GPU-0": 0.5}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "preprocess took 40% of the tasks' time; more cores per device"),
        ({"wait_s": 1.9}, "tasks waited 63% of their time for rows of Spark"),
        ({"decode_s": 1.5}, "making arrays of columns took 50%"),
        ({"copy_s": 1.5}, "copying batches took 50%"),
        ({"encode_s": 1.5}, "making columns of the answers took 50%"),
        ({"write_s": 1.5}, "Spark took the answers slowly, 50%"),
        (
            {"busy": (0.0, 1.9, 100.0, 102.0)},
            "the model was busy 95% of the time, so nothing else held it up",
        ),
        (
            {"predict_s": 0.001},
            "a call of the model took 0.25 ms, less than what is around it; a larger batch_size",
        ),
        ({"load_s": 30.0}, "loading the model took 30.0 s, longer than using it"),
        ({"busy": None}, "no row got to the model: all were bad"),
        ({"batches": 0}, "there was nothing to predict"),
    ],
)
def test_the_bottleneck_is_named_with_what_would_help(changes: dict[str, Any], sentence: str) -> None:
    assert merged([task_report(**changes)]).bottleneck.startswith(sentence)


def test_nothing_makes_no_profile_fail() -> None:
    assert merged([]).bottleneck == "there was nothing to predict"
    assert merged([]).busy_share == 0


def test_the_table_has_every_step_and_ends_with_the_sentence() -> None:
    lines = table(merged([task_report()])).splitlines()

    assert [line.split()[0] for line in lines[1:10]] == list(STEPS)
    assert lines[1].split() == ["load", "1.00", "33%"]
    assert lines[4].split() == ["preprocess", "1.20", "40%"]
    assert "200 rows, 0 bad, in 4 batches of 50 by 1 task and 1 model; 100 rows/s" in lines[10]
    assert lines[11] == "1 task reads 1 row group of 1 Parquet file itself."
    assert lines[12] == (
        "Preprocess took 40% of the tasks' time; more cores per device (spark.executor.cores), or doing it "
        "on the device, would help (the model was busy 50% of the time)."
    )


def test_prometheus_reads_it() -> None:
    text = prometheus(merged([task_report(bad=3)]), job='a "b"')

    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert samples['tritium_infer_rows_total{job="a \\"b\\""}'] == "200"
    assert samples['tritium_infer_bad_rows_total{job="a \\"b\\""}'] == "3"
    assert float(samples['tritium_infer_seconds_total{job="a \\"b\\"",step="preprocess"}']) == 1.2
    assert float(samples['tritium_infer_busy_ratio{job="a \\"b\\"",UUID="GPU-0"}']) == 0.5
    assert text.endswith("\n")


def test_a_profile_is_plain_json() -> None:
    profile = merged([task_report()])

    assert json.loads(json.dumps(asdict(profile)))["steps"]["preprocess"] == 1.2


def test_the_wait_for_the_first_rows_is_no_part_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(
        "tritium.infer.clock.time", SimpleNamespace(monotonic=lambda: now[0], time=lambda: 5.0)
    )

    def source() -> Iterator[Any]:
        for seconds in (10.0, 0.25):
            now[0] += seconds
            yield seconds

    clock = Clock(stage=3, number=0)
    rows = clock.reading(source())
    next(rows)
    owner: Any = SimpleNamespace(devices=(), host="node-7", executor="executor 0", pid=12)
    feeder: Any = SimpleNamespace(owner=owner, load_s=0.0, copy_s=0.0, full_s=0.0)
    clock.start(feeder)
    list(rows)
    now[0] += 0.75

    report = clock.report(Prepare(columns=None, preprocess=None, quarantine=False), reading="")

    assert (report.wait_s, report.seconds) == (0.25, 1.0)
