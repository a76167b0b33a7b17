"""A gang without a driver to meet at: what its first task is told, and what it tells."""

from __future__ import annotations

import json
import math
import pickle
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tritium.errors import GangLost, RankFailed, TritiumError, Unplaceable
from tritium.train.assembly import Assembly
from tritium.train.capacity import capacity
from tritium.train.hosting import Hosted, Story, met
from tritium.train.messages import Gone, Here, Line, Outcome, Report
from tritium.train.wire import dial


def assembly(size: int = 1) -> Assembly:
    return Assembly(
        gang="train", size=size, launch_s=10, launch_by=110.0, end_by=None, began={"gathering": 100.0}
    )


def hosted(*, start_by: float = math.inf, size: int = 1) -> Hosted:
    return Hosted(assembly=assembly(size), now=100.0, start_by=start_by)


def test_the_moments_of_an_assembly_move_to_another_hosts_clock() -> None:
    begun = hosted(start_by=0).begun(now=5000.0)

    assert (begun.launch_by, begun.end_by, begun.began) == (5010.0, None, {"gathering": 5000.0})


def test_the_launch_limit_begins_with_the_first_task_where_spark_computed_the_rows_before() -> None:
    task: Any = FirstTask(0)
    with met(hosted(start_by=math.inf), task, key=b"", host="127.0.0.1") as place:
        assert place.address is not None

    assert hosted(start_by=math.inf).begun(now=100.0 + 3600).launch_by == 100.0 + 3600 + 10


class FirstTask:
    """The part of Spark's BarrierTaskContext that a meeting uses, for one task or for one that hears it."""

    def __init__(self, partition: int, said: str | None = None) -> None:
        self.partition, self.said = partition, said

    def partitionId(self) -> int:  # noqa: N802  Spark's name
        return self.partition

    def getTaskInfos(self) -> list[Any]:  # noqa: N802  Spark's name
        return [SimpleNamespace(address=f"10.0.0.{number}:40001") for number in (1, 2)]

    def allGather(self, message: str) -> list[str]:  # noqa: N802  Spark's name
        self.said = self.said or message
        return [self.said]


def attend(task: Any, where: Hosted, then: Callable[[tuple[str, int]], None]) -> Any:
    with met(where, task, key=b"secret", host="127.0.0.1") as place:
        assert place.address is not None
        then(place.address)
        return place.story()


def speak(address: tuple[str, int]) -> None:
    with dial(address, b"secret") as wire:
        wire.send(Here(task=0))
        wire.send(Line(rank=0, text="hello"))
        wire.send(Report(rank=0, values={"loss": 0.5}))
        wire.send(Gone(task=0, outcome=Outcome(kind="raised", cause="ValueError: no", trace="in fit")))
        while wire.poll(20) and type(wire.recv()).__name__ != "AllGone":
            pass


def test_the_first_task_hosts_the_meeting_and_tells_what_it_learnt() -> None:
    story: Story = pickle.loads(attend(FirstTask(0), hosted(start_by=time.time() + 60), speak))  # noqa: S301

    assert story.heard[:2] == (Line(rank=0, text="hello"), Report(rank=0, values={"loss": 0.5}))
    assert isinstance(story.heard[2], Gone)
    assert story.failure is None
    error = story.assembly.error
    assert isinstance(error, RankFailed)
    assert (str(error), error.trace) == ("train: rank 0 failed: ValueError: no", "in fit")
    assert story.assembly.phase == "over"


def test_the_other_tasks_find_the_first_ones_address_and_tell_nothing() -> None:
    task = FirstTask(3, said=json.dumps([["10.0.0.1", 4711], ""]))
    found: list[tuple[str, int]] = []

    assert attend(task, hosted(start_by=time.time() + 60), found.append) is None
    assert found == [("10.0.0.1", 4711)]


def test_tasks_that_start_when_the_client_has_given_up_do_not_meet() -> None:
    """Spark may start a job that was cancelled in its slot check, minutes later (SPARK-58887)."""
    task: Any = FirstTask(0)
    with met(hosted(start_by=time.time() - 600), task, key=b"", host="127.0.0.1") as place:
        assert place.address is None
        assert "Spark started the tasks 600 s after the gang was given up" in place.complaint
        assert place.story() is None


def test_a_host_that_cannot_be_listened_on_is_a_complaint_of_every_task() -> None:
    task: Any = FirstTask(0)
    with met(hosted(start_by=time.time() + 60), task, key=b"", host="192.0.2.1") as place:
        assert place.address is None
        assert "cannot listen for the gang on 192.0.2.1" in place.complaint


def test_a_lost_task_fails_the_first_ones_for_spark_may_wait_for_it_for_ever() -> None:
    """A worker that stands still ends no stage; one that was killed does."""

    def lose_the_second(address: tuple[str, int]) -> None:
        with dial(address, b"secret") as wire, dial(address, b"secret") as other:
            wire.send(Here(task=0))
            other.send(Here(task=1))
            other.close()
            while type(wire.recv()).__name__ != "Stop":
                pass
            wire.send(Gone(task=0, outcome=Outcome(kind="stopped")))
            while type(wire.recv()).__name__ != "AllGone":
                pass

    with pytest.raises(GangLost, match=r"^train: lost task 1: its executor or Python worker went away$"):
        attend(FirstTask(0), hosted(size=2), lose_the_second)


def test_the_end_of_a_hosted_meeting_fails_its_tasks_and_that_of_a_drivers_is_left_to_them() -> None:
    words = r"^train: a task on .+ lost the gang's first task: it is gone, or silent$"

    assert attend(FirstTask(0), hosted(), lambda _: None) is not None
    with pytest.raises(GangLost, match=words):
        hear_no_more(hosted())
    with pytest.raises(EOFError):
        hear_no_more(("head", 7))


def hear_no_more(where: Hosted | tuple[str, int]) -> None:
    task: Any = FirstTask(0)
    with met(where, task, key=b"", host="127.0.0.1") as place, place.kept():
        raise EOFError


def test_a_meeting_at_the_driver_needs_no_gathering() -> None:
    task: Any = FirstTask(0)
    with met(("head", 7), task, key=b"", host="127.0.0.1") as place:
        assert (place.address, place.story(), task.said) == (("head", 7), None, None)


@pytest.mark.parametrize(
    "error",
    [
        RankFailed(gang="g", rank=1, cause="killed", trace="t", victims=[0]),
        Unplaceable("g: cannot be placed:", ["gpu 1: 9000 MiB free, 16000 needed"]),
    ],
)
def test_errors_travel_whole(error: TritiumError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301

    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


GPUS = "spark.executor.resource.gpu.amount"
STANDALONE = {
    "spark.master": "spark://h:7077",
    "spark.executor.cores": "4",
    "spark.cores.max": "8",
    GPUS: "2",
}


@pytest.mark.parametrize(
    ("values", "gpus", "room"),
    [
        ({"spark.master": "local[3]"}, 1, 3),
        ({"spark.master": "local"}, 0, 1),
        ({"spark.master": "local[*]"}, 0, None),
        ({"spark.master": "local-cluster[2,4,1024]", GPUS: "4"}, 1, 8),
        ({"spark.master": "local-cluster[2,4,1024]", GPUS: "4"}, 2, 4),
        ({"spark.master": "local-cluster[2,4,1024]", "spark.executor.cores": "2", GPUS: "1"}, 1, 4),
        ({"spark.master": "local-cluster[2,4,1024]", "spark.cores.max": "4"}, 0, 4),
        (STANDALONE, 1, 4),
        (STANDALONE, 0, 8),
        ({**STANDALONE, "spark.task.cpus": "2"}, 0, 4),
        ({**STANDALONE, "spark.task.cpus": "2"}, 2, 2),
        ({**STANDALONE, "spark.cores.max": ""}, 1, None),
        (
            {"spark.master": "yarn", "spark.executor.instances": "3", GPUS: "2", "spark.executor.cores": "8"},
            2,
            3,
        ),
        ({"spark.master": "yarn", "spark.executor.instances": "3"}, 0, 3),
        ({"spark.master": "yarn"}, 0, None),
        ({}, 1, None),
    ],
)
def test_the_room_for_a_gang_is_told_from_properties_where_they_say_it(
    values: dict[str, str], gpus: int, room: int | None
) -> None:
    assert capacity(values, gpus_per_rank=gpus) == room
