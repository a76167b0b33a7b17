"""How busy a device was: never more than all of the time, whoever fed whom, and whatever came between."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import accumulate
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rigs.reports import task_report
from tritium.infer.clock import Clock
from tritium.infer.feeder import Answered, Fed
from tritium.infer.prepare import Prepare
from tritium.infer.profile import STEPS, merged
from tritium.infer.report import TaskReport
from tritium.infer.words import Said

SECONDS = st.floats(min_value=0, max_value=1e6)


def owner(number: int, *, executor: str = "executor 0") -> Any:
    return SimpleNamespace(devices=(), host="node-7", executor=executor, pid=number)


def said(busy_s: float, at: float) -> Said:
    return Said(slot=0, busy_s=busy_s, at=at)


def reported(answers: Iterable[tuple[Any, Said]], *, loaded_s: Iterable[float] = ()) -> TaskReport:
    """What a task says that got these answers from these owners."""
    clock = Clock(stage=0, number=0)
    feeder: Any = SimpleNamespace(owner=owner(0), load_s=0.0, copy_s=0.0, full_s=0.0)
    extend: Any = SimpleNamespace(extended=lambda _: SimpleNamespace(num_rows=1))
    clock.start(feeder)
    loads = iter(loaded_s)
    for feeder.owner, one in answers:
        feeder.load_s = next(loads, feeder.load_s)
        clock.encoding(
            extend,
            Answered(
                fed=Fed(batch=None, columns=None, rows=1),
                answer=None,
                said=replace(one, owner=feeder.owner.pid),
            ),
        )
    return clock.report(Prepare(columns=None, preprocess=None, quarantine=False), reading="")


def test_a_task_that_went_on_with_another_owner_tells_of_that_one_alone() -> None:
    first, second = owner(1), owner(2)

    report = reported(
        [(first, said(0.5, 100)), (first, said(0.6, 101)), (second, said(50, 102)), (second, said(51, 104))]
    )

    assert report.owner == 2
    assert merged([report]).busy == {"CPU": 0.5}


def test_a_model_that_was_loaded_again_is_no_longer_wait_for_the_first() -> None:
    first, second = owner(1), owner(2)

    report = reported([(first, said(0.5, 100)), (second, said(50, 102))], loaded_s=[0.25, 90.0])

    assert report.load_s == 0.25


@given(
    owners=st.lists(
        st.tuples(SECONDS, st.lists(st.tuples(SECONDS, SECONDS, st.integers(0, 2)), max_size=6)), max_size=4
    )
)
def test_no_device_is_busy_for_more_than_all_of_the_time(
    owners: list[tuple[float, list[tuple[float, float, int]]]],
) -> None:
    tasks: list[list[tuple[Any, Said]]] = [[], [], []]
    for number, (start, work) in enumerate(owners):
        one = owner(number)
        ends = accumulate((idle + busy for idle, busy, _ in work), initial=start)
        counts = accumulate(busy for _, busy, _ in work)
        for at, count, (_, _, task) in zip(list(ends)[1:], counts, work, strict=True):
            tasks[task].append((one, said(count, at)))

    profile = merged([reported(answers) for answers in tasks if answers])

    assert all(-1e-6 <= share <= 1 + 1e-6 for share in profile.busy.values())


def test_owners_of_one_pid_in_two_executors_are_two() -> None:
    reports = [
        task_report(executor="executor 0", busy=(0.0, 5.0, 100.0, 110.0)),
        task_report(executor="executor 1", busy=(70.0, 75.0, 100.0, 110.0)),
    ]

    profile = merged(reports)

    assert profile.owners == 2
    assert profile.busy == {"GPU-0": 0.5}


def test_a_task_without_an_answer_says_nothing_about_its_owner() -> None:
    assert reported([]).busy is None
    assert merged([task_report(), task_report(busy=None)]).busy == {"GPU-0": 0.5}


def test_what_ran_ahead_while_the_model_was_loaded_is_not_more_than_all_of_the_time() -> None:
    profile = merged([task_report(load_s=20.0, seconds=0.5, preprocess_s=18.0, decode_s=1.5)])

    assert profile.seconds == 20.5
    assert all(profile.steps[step] <= profile.seconds for step in STEPS)
    assert profile.steps["load"] == 20
