"""A gang's life at the driver, without sockets, clock or Spark."""

from __future__ import annotations

from pathlib import Path

import pytest

from tritium.errors import GangCancelled, GangLost, RankFailed, TooSlow, Unplaceable
from tritium.spark.inventory import TaskView
from tritium.train.assembly import Assembly, Lost
from tritium.train.messages import (
    Again,
    AllGone,
    Beat,
    Dump,
    Dumped,
    Gathered,
    Go,
    Gone,
    Hello,
    Here,
    Idle,
    Moment,
    Outcome,
    OutcomeKind,
    Refusal,
    Reserved,
    Share,
    Shared,
    Started,
    Stop,
    ToTask,
)
from tritium_discovery import HostId, Inventory

RETURNED = Outcome(kind="returned")
HELD = Refusal(reasons=("GPU-1 is held by rank 0 of other (pid 7)",), waits=True)
TOO_SMALL = Refusal(reasons=("GPU-1: 9000 MiB, 16384 needed",), waits=False)


def hello(task: int) -> Hello:
    inventory = Inventory(host=HostId("node-1"), hostname="node-1", origin="emulated")
    view = TaskView(
        inventory=inventory,
        pool=(),
        pool_name=f"executor {task}",
        count=None,
        held={},
        directory=Path("/nowhere"),
    )
    return Hello(task=task, view=view, rows=None, address=("127.0.0.1", 4000 + task), cpus=2)


def assembly(
    *, end_by: float | None = None, stall_s: float | None = None, silence_s: float = 1e9
) -> Assembly:
    return Assembly(
        gang="train",
        size=2,
        launch_s=60.0,
        launch_by=60.0,
        end_by=end_by,
        stall_s=stall_s,
        silence_s=silence_s,
    )


def said(told: list[ToTask]) -> list[str]:
    return [type(message).__name__ for message in told]


def running(**limits: float) -> Assembly:
    gang = assembly(**limits)
    for task in (0, 1):
        gang.handle(hello(task), now=1.0)
    for task in (0, 1):
        gang.handle(Reserved(task=task), now=2.0)
    for task in (0, 1):
        gang.handle(Started(task=task, rank=1 - task, pid=100 + task), now=3.0)
    return gang


def test_nobody_is_told_anything_until_all_have_met() -> None:
    gang = assembly()

    assert gang.handle(hello(1), now=1.0) == []
    (gathered,) = gang.handle(hello(0), now=2.0)
    assert isinstance(gathered, Gathered)
    assert [h.task for h in gathered.hellos] == [0, 1]


def test_ranks_start_only_when_every_task_holds_its_devices() -> None:
    gang = assembly()
    for task in (0, 1):
        gang.handle(hello(task), now=1.0)

    assert gang.handle(Reserved(task=0), now=2.0) == []
    assert gang.handle(Reserved(task=1), now=2.0) == [Go()]
    assert gang.phase == "running"


def test_a_task_that_finds_its_device_held_makes_all_look_again() -> None:
    gang = assembly()
    for task in (0, 1):
        gang.handle(hello(task), now=1.0)

    gang.handle(Reserved(task=0, refusal=HELD), now=2.0)
    assert said(gang.handle(Reserved(task=1), now=2.0)) == ["Again"]
    assert gang.handle(hello(0), now=3.0) == []
    assert said(gang.handle(hello(1), now=3.0)) == ["Gathered"]


def test_a_device_that_stays_held_ends_the_gang_with_the_holders_name() -> None:
    gang = assembly()
    for task in (0, 1):
        gang.handle(hello(task), now=1.0)

    gang.handle(Reserved(task=0, refusal=HELD), now=62.0)
    assert gang.handle(Reserved(task=1, refusal=HELD), now=62.0) == [Stop()]
    assert isinstance(gang.error, Unplaceable)
    assert gang.error.reasons == HELD.reasons


def test_the_holder_is_named_also_when_the_limit_runs_out_between_two_looks() -> None:
    gang = assembly()
    for task in (0, 1):
        gang.handle(Here(task=task), now=1.0)
    for task in (0, 1):
        gang.handle(hello(task), now=1.0)
    for task in (0, 1):
        gang.handle(Reserved(task=task, refusal=HELD), now=60.9)

    assert gang.tick(now=61.1) == [Stop()]
    assert isinstance(gang.error, Unplaceable)
    assert gang.error.reasons == HELD.reasons


def test_a_request_that_can_never_fit_is_refused_at_once() -> None:
    gang = assembly()
    for task in (0, 1):
        gang.handle(hello(task), now=1.0)

    gang.handle(Reserved(task=0, refusal=TOO_SMALL), now=2.0)
    gang.handle(Reserved(task=1, refusal=TOO_SMALL), now=2.0)
    assert isinstance(gang.error, Unplaceable)
    assert "9000 MiB, 16384 needed" in str(gang.error)


def test_all_are_told_that_all_are_gone_and_not_before() -> None:
    gang = running()

    assert gang.handle(Gone(task=0, outcome=RETURNED), now=9.0) == []
    assert gang.handle(Gone(task=1, outcome=RETURNED), now=9.5) == [AllGone()]
    assert (gang.phase, gang.error) == ("over", None)


def test_the_first_failure_is_named_and_the_others_are_its_victims() -> None:
    gang = running()

    told = gang.handle(
        Gone(task=0, outcome=Outcome(kind="raised", cause="ValueError: bad", trace="...")), now=9.0
    )
    gang.handle(Gone(task=1, outcome=Outcome(kind="killed", cause="killed by SIGTERM")), now=9.1)

    assert told == [Stop()]
    assert isinstance(gang.error, RankFailed)
    assert (gang.error.rank, gang.error.cause, gang.error.victims) == (1, "ValueError: bad", (0,))
    assert gang.phase == "over"


def test_a_lost_connection_ends_the_gang_and_names_what_was_lost() -> None:
    gang = running()

    told = gang.handle(Lost(task=1), now=9.0)

    assert told == [Stop()]
    assert isinstance(gang.error, GangLost)
    assert "lost rank 0 on executor 1 of node-1" in str(gang.error)
    assert gang.abandoned
    assert gang.handle(Gone(task=0, outcome=Outcome(kind="stopped")), now=9.5) == [AllGone()]


def test_a_connection_that_closes_after_the_rank_is_gone_is_no_news() -> None:
    gang = running()
    gang.handle(Gone(task=1, outcome=RETURNED), now=9.0)

    assert gang.handle(Lost(task=1), now=9.1) == []
    assert gang.error is None


def test_a_task_that_cannot_see_its_devices_ends_the_gang_before_it_starts() -> None:
    gang = assembly()
    gang.handle(hello(0), now=1.0)

    told = gang.handle(Gone(task=1, outcome=Outcome(kind="refused", cause="no driver")), now=1.5)

    assert told == [Stop()]
    assert isinstance(gang.error, Unplaceable)
    assert "task 1" in str(gang.error)
    assert "no driver" in str(gang.error)


def test_a_gang_whose_tasks_are_never_started_ends_at_its_launch_limit() -> None:
    gang = assembly()
    gang.handle(Here(task=1), now=1.0)

    assert gang.tick(now=60.0) == []
    assert gang.tick(now=60.1) == [Stop()]
    assert isinstance(gang.error, TooSlow)
    assert "Spark has not started its tasks [0]" in str(gang.error)
    assert gang.abandoned


def test_the_launch_limit_does_not_run_while_spark_computes_the_rows() -> None:
    gang = assembly()
    for now in (50.0, 100.0, 150.0):
        gang.computes(now=now)
        assert gang.tick(now=now + 59) == []
    assert gang.tick(now=211) == [Stop(), AllGone()], "nobody has come, so nobody is waited for"
    assert isinstance(gang.error, TooSlow)


def test_what_is_computed_after_the_first_task_came_gives_the_others_no_more_time() -> None:
    gang = assembly()
    gang.handle(Here(task=0), now=1)

    gang.computes(now=59)

    assert gang.tick(now=61) == [Stop()]


def test_reading_the_rows_has_no_limit_once_all_tasks_have_been_started() -> None:
    gang = assembly()
    for task in (0, 1):
        gang.handle(Here(task=task), now=1.0)

    assert gang.tick(now=9_000.0) == []
    for task in (0, 1):
        gang.handle(hello(task), now=9_000.0)
    assert gang.tick(now=9_059.0) == []
    assert gang.tick(now=9_061.0) == [Stop()]
    assert "its devices stayed taken" in str(gang.error)


def test_a_gang_ends_at_its_time_limit_if_it_has_one() -> None:
    assert running().tick(now=1e9) == []

    gang = running(end_by=100.0)
    assert gang.tick(now=100.1) == [Dump()]
    assert gang.tick(now=100.2) == []
    assert gang.handle(Dumped(task=0, stacks='File "a.py", line 3 in step'), now=100.3) == []
    assert gang.handle(Dumped(task=1, stacks=""), now=100.4) == [Stop()]
    assert isinstance(gang.error, TooSlow)
    assert gang.error.trace == 'rank 0:\n(it did not answer)\n\nrank 1:\nFile "a.py", line 3 in step'
    assert gang.tick(now=100.5) == []


def test_ranks_that_do_not_say_where_they_are_are_not_waited_for_long() -> None:
    gang = running(end_by=100.0)
    gang.tick(now=100.1)
    gang.handle(Dumped(task=1, stacks="somewhere"), now=100.2)

    assert gang.tick(now=105.0) == []
    assert gang.tick(now=105.2) == [Stop()]
    assert isinstance(gang.error, TooSlow)
    assert gang.error.trace == "rank 0:\nsomewhere"


def test_a_rank_that_fails_while_its_gang_is_late_is_not_the_cause() -> None:
    gang = running(end_by=100.0)
    gang.tick(now=100.1)

    gang.handle(Gone(task=1, outcome=Outcome(kind="killed", cause="killed by SIGUSR1")), now=100.2)
    assert isinstance(gang.error, TooSlow)

    gang = running(end_by=100.0)
    gang.tick(now=100.1)
    gang.cancel(now=100.2)
    assert isinstance(gang.error, GangCancelled)


def test_a_rank_that_does_nothing_for_too_long_is_named_and_not_those_that_wait_for_it() -> None:
    gang = running(stall_s=10.0)
    gang.handle(Share(rank=1, call=0, operation="all_gather()", payload=b""), now=4.0)
    for task in (0, 1):
        gang.handle(Idle(task=task, seconds=9.0), now=14.0)

    assert gang.tick(now=14.9) == []
    assert gang.tick(now=15.1) == [Dump()]
    gang.handle(Dumped(task=0, stacks="in barrier"), now=15.2)
    gang.handle(Dumped(task=1, stacks="in read"), now=15.3)

    sentence = "train: rank 0 reported, gathered and printed nothing for 10 s (stall_timeout_s)"
    assert str(gang.error) == sentence


def test_ranks_that_wait_for_each_other_are_all_named() -> None:
    gang = running(stall_s=10.0)
    for task in (0, 1):
        gang.handle(Idle(task=task, seconds=0.5), now=4.0)
    gang.tick(now=14.0)
    assert gang.tick(now=20.0) == [Stop()]

    assert str(gang.error).startswith("train: ranks 0, 1 reported, gathered and printed nothing")


def test_a_task_that_is_silent_is_lost_and_one_that_says_a_word_is_not() -> None:
    gang = running(silence_s=5.0)
    for task in (0, 1):
        gang.handle(Beat(task=task), now=10.0)
    gang.handle(Beat(task=0), now=14.0)

    assert gang.tick(now=14.9) == []
    assert gang.tick(now=15.1) == [Stop()]
    assert isinstance(gang.error, GangLost)
    assert "rank 0 on executor 1" in str(gang.error)
    assert str(gang.error).endswith("its Python worker was silent for 5 s (silence_timeout_s)")
    assert gang.abandoned, "Spark still waits for it"
    assert gang.tick(now=99.0) == [AllGone()], "the other one may be silent in the end as well"


def test_cancelling_twice_is_cancelling_once() -> None:
    gang = running()

    assert gang.cancel(now=9.0) == [Stop()]
    assert gang.cancel(now=9.1) == []
    assert isinstance(gang.error, GangCancelled)


def test_a_task_that_arrives_after_the_end_is_sent_away() -> None:
    gang = assembly()
    gang.cancel(now=1.0)

    assert gang.handle(Here(task=0), now=2.0) == [Stop()]
    assert gang.handle(hello(0), now=2.0) == [Stop()]
    assert gang.handle(Gone(task=0, outcome=Outcome(kind="stopped")), now=2.1) == [AllGone()]
    gang.handle(hello(1), now=2.2)
    assert gang.handle(Gone(task=1, outcome=Outcome(kind="stopped")), now=2.3) == [AllGone()]


def test_again_tells_how_long_to_wait() -> None:
    gang = assembly()
    for task in (0, 1):
        gang.handle(hello(task), now=1.0)
    gang.handle(Reserved(task=0, refusal=HELD), now=2.0)

    (again,) = gang.handle(Reserved(task=1), now=2.0)

    assert isinstance(again, Again)
    assert 0 < again.after_s < 1


def test_values_are_shared_when_every_rank_has_put_one_in_and_stay_in_order() -> None:
    gang = running()

    assert gang.handle(Share(rank=0, call=0, operation="all_gather()", payload=b"a1"), now=4.0) == []
    assert gang.handle(Share(rank=0, call=1, operation="all_gather()", payload=b"a2"), now=4.0) == []
    both = [Shared(call=0, payloads=(b"a1", b"b1"))], [Shared(call=1, payloads=(b"a2", b"b2"))]
    assert gang.handle(Share(rank=1, call=0, operation="all_gather()", payload=b"b1"), now=5.0) == both[0]
    assert gang.handle(Share(rank=1, call=1, operation="all_gather()", payload=b"b2"), now=5.0) == both[1]


def test_ranks_that_call_different_things_are_told_so_at_once_and_those_to_come_too() -> None:
    gang = running()
    gang.handle(Share(rank=0, call=0, operation="barrier()", payload=b""), now=4.0)

    (told,) = gang.handle(Share(rank=1, call=0, operation="broadcast(root=1)", payload=b""), now=4.0)

    assert isinstance(told, Shared)
    assert told.payloads == ()
    assert told.mismatch == (
        "call 1 of rank 0 is barrier(), of rank 1 broadcast(root=1): "
        "ranks must call the same in the same order"
    )


def test_a_rank_that_was_killed_is_to_blame_also_where_its_peer_that_raised_was_heard_first() -> None:
    gang = running()
    raised = Outcome(kind="raised", cause="RuntimeError: Connection reset by peer")

    gang.handle(Gone(task=0, outcome=raised), now=5.0)
    assert str(gang.error) == "train: rank 1 failed: RuntimeError: Connection reset by peer"
    gang.handle(Gone(task=1, outcome=Outcome(kind="killed", cause="killed by SIGKILL")), now=5.1)

    assert isinstance(gang.error, RankFailed)
    assert str(gang.error) == "train: rank 0 failed: killed by SIGKILL"
    assert gang.error.by_machine
    assert gang.error.victims == (1,)


def test_a_lost_rank_is_to_blame_also_where_its_peer_that_raised_was_heard_first() -> None:
    gang = running()

    gang.handle(Gone(task=0, outcome=Outcome(kind="raised", cause="RuntimeError: reset")), now=5.0)
    gang.handle(Lost(task=1), now=5.1)

    assert isinstance(gang.error, GangLost)
    assert str(gang.error) == "train: lost rank 0: its executor or Python worker went away"


@pytest.mark.parametrize("kind", ["raised", "exited"])
def test_a_rank_that_failed_first_is_to_blame_also_where_it_is_gone_later(kind: OutcomeKind) -> None:
    gang = running()

    gang.handle(Moment(rank=0, name="failed"), now=5.0)
    gang.handle(Moment(rank=1, name="failed"), now=5.1)
    gang.handle(Gone(task=0, outcome=Outcome(kind="raised", cause="RuntimeError: closed by peer")), now=5.2)
    assert str(gang.error) == "train: rank 1 failed: RuntimeError: closed by peer"
    gang.handle(Gone(task=1, outcome=Outcome(kind=kind, cause="the cause")), now=6.0)

    assert str(gang.error) == "train: rank 0 failed: the cause"


def test_a_rank_that_was_killed_stays_to_blame_whoever_says_first_that_it_failed() -> None:
    gang = running()

    gang.handle(Moment(rank=0, name="failed"), now=5.0)
    gang.handle(Gone(task=0, outcome=Outcome(kind="killed", cause="killed by SIGKILL")), now=5.1)
    gang.handle(Gone(task=1, outcome=Outcome(kind="raised", cause="RuntimeError: closed by peer")), now=5.2)

    assert str(gang.error) == "train: rank 1 failed: killed by SIGKILL"


def test_of_two_that_raise_the_first_is_to_blame() -> None:
    gang = running()

    for task in (0, 1):
        gang.handle(Gone(task=task, outcome=Outcome(kind="raised", cause=f"ValueError: {task}")), now=5.0)

    assert str(gang.error) == "train: rank 1 failed: ValueError: 0"
