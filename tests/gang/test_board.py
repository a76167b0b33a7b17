"""What the driver knows of its gangs: ledger events that replay, and the metrics made of them."""

from __future__ import annotations

import importlib.util
import urllib.request
from pathlib import Path

import pytest

from rigs.require import require
from tritium import metrics
from tritium.assign.index import Index
from tritium.assign.ledger import Gone as LedgerGone
from tritium.assign.ledger import Granted, Ledger, after
from tritium.assign.types import Request
from tritium.errors import BadSpec, GangLost
from tritium.spark.inventory import TaskView, snapshot_of
from tritium.train.assembly import Assembly, Lost
from tritium.train.board import Board, Witness
from tritium.train.messages import FromTask, Gone, Hello, Moment, Outcome, Peak, Report, Reserved, Started
from tritium.train.placing import Asked, Placed, place
from tritium.train.result import result_of
from tritium_discovery import Device, HostId, Inventory, Uuid

DEVICES = tuple(
    Device(
        uuid=Uuid(f"GPU-{number}"),
        address=number,
        pci_bus_id=f"00000000:0{number}:00.0",
        product="A100",
        memory_mib=40960,
        free_mib=40960,
        capability=(8, 0),
    )
    for number in range(4)
)
ASKED = Asked(request=Request(members=2), policy="packed")


def hello(task: int, *, rows: int | None = None) -> Hello:
    view = TaskView(
        inventory=Inventory(host=HostId("node-1/a"), hostname="node-1", origin="emulated", devices=DEVICES),
        pool=tuple(device.uuid for device in DEVICES),
        pool_name="executor 1",
        count=None,
        held={},
        directory=Path("/nowhere"),
    )
    return Hello(task=task, view=view, rows=rows, address=("127.0.0.1", 4000 + task), cpus=2)


class Driver:
    """What a meeting does: the assembly decides, then the witness hears."""

    def __init__(self, board: Board) -> None:
        self.now = 0.0
        self.assembly = Assembly(
            gang="train",
            size=2,
            launch_s=60,
            launch_by=None,
            end_by=None,
            again_s=0.1,
            began={"gathering": 0.0},
        )
        self.witness = Witness(board, owner="train-1.0", assembly=self.assembly, asked=ASKED)
        for task in (0, 1):
            self.say(hello(task))
        for task in (0, 1):
            self.say(Reserved(task=task))
        for task in (0, 1):
            self.say(Started(task=task, rank=task, pid=100 + task))

    def say(self, message: FromTask) -> None:
        self.now += 1
        self.assembly.handle(message, now=self.now)
        self.witness.hear(message)


def test_the_events_of_a_gang_replay_on_the_ledger_and_end_with_nothing_taken() -> None:
    board = Board()
    driver = Driver(board)

    with driver.witness:
        for task in (0, 1):
            driver.say(Gone(task=task, outcome=Outcome(kind="returned")))

    events = [event for _, event in board.events]
    assert [type(event) for event in events] == [Granted, LedgerGone, LedgerGone]
    ledger = Ledger(index=Index.of(snapshot_of([hello(0).view, hello(1).view])))
    ledger = after(ledger, events[0])
    assert ledger.grants["train-1.0"].running == {0, 1}
    for event in events[1:]:
        ledger = after(ledger, event)
    assert not ledger.grants
    assert board.ended() == {("train", "succeeded"): 1}


def test_a_lost_rank_is_gone_for_the_driver_when_its_attempt_is_over() -> None:
    board = Board()
    driver = Driver(board)

    driver.say(Gone(task=1, outcome=Outcome(kind="stopped")))
    assert board.entries()["train-1.0"].running == {0}
    driver.assembly.handle(Lost(task=0), now=9.0)
    with pytest.raises(GangLost), driver.witness:
        raise driver.assembly.error or AssertionError

    assert board.entries()["train-1.0"].running == frozenset()
    assert board.ended() == {("train", "GangLost"): 1}


def test_a_gang_that_never_started_is_counted_and_holds_nothing() -> None:
    board = Board()
    assembly = Assembly(gang="train", size=2, launch_s=60, launch_by=None, end_by=None)

    with Witness(board, owner="train-1.0", assembly=assembly, asked=ASKED) as witness:
        witness.hear(Report(rank=0, values={"loss": 1}))

    assert not board.entries()
    assert not board.events


@pytest.fixture
def prometheus() -> None:
    found = importlib.util.find_spec("prometheus_client")
    require(found, what="prometheus_client", install="pip install 'tritium[metrics]'")


def lines(board: Board) -> set[str]:
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics.Gangs(board))
    text = generate_latest(registry).decode()
    return {line for line in text.splitlines() if not line.startswith("#")}


@pytest.mark.usefixtures("prometheus")
def test_metrics_say_which_rank_holds_which_device_and_what_it_reported() -> None:
    board = Board()
    driver = Driver(board)
    driver.say(Report(rank=0, values={"loss": 0.5, "note": "words are no metric"}))
    driver.say(Peak(rank=1, host_mib=100, device_mib=None))
    driver.say(Gone(task=1, outcome=Outcome(kind="returned")))

    said = lines(board)

    (device,) = board.entries()["train-1.0"].members[0].devices
    held = {line for line in said if line.startswith("tritium_device_held")}
    where = 'attempt="train-1.0",executor="executor 1",gang="train",host="node-1/a",rank="0"'
    assert held == {f'tritium_device_held{{UUID="{device}",{where}}} 1.0'}
    assert 'tritium_gang_ranks{attempt="train-1.0",gang="train"} 1.0' in said
    assert 'tritium_gang_report{gang="train",name="loss",rank="0"} 0.5' in said
    assert 'tritium_rank_peak_bytes{gang="train",kind="host",rank="1"} 1.048576e+08' in said
    with driver.witness:
        pass
    assert 'tritium_gang_attempts_total{gang="train",outcome="succeeded"} 1.0' in lines(board)


@pytest.mark.usefixtures("prometheus")
def test_metrics_are_served_and_a_taken_port_is_a_sentence() -> None:
    port = metrics.serve(bind="127.0.0.1")

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        assert b"# HELP tritium_device_held" in answer.read()
    assert metrics.serve(bind="127.0.0.1") == port
    with pytest.raises(BadSpec, match=rf"the port 127\.0\.0\.1:{port} cannot be listened on"):
        metrics.serve(port, bind="127.0.0.1")


def test_each_step_of_a_ranks_start_is_timed_on_the_drivers_clock() -> None:
    driver = Driver(Board())  # 6 s: rank 1 has started
    driver.say(Moment(rank=0, name="entered"))
    driver.say(Moment(rank=0, name="met"))
    driver.say(Report(rank=0))
    driver.say(Report(rank=0))
    driver.say(Peak(rank=0, host_mib=10, device_mib=5))
    for task in (0, 1):
        driver.say(Gone(task=task, outcome=Outcome(kind="returned", seconds=3.0)))

    import pickle

    values = {0: pickle.dumps("zero"), 1: pickle.dumps("one")}
    result = result_of(driver.assembly, values, asked=ASKED, queue_s=0.5)

    assert result.values == ("zero", "one")
    assert result.phases == {"queue": 0.5, "launch": 2.0, "rows": 0.0, "place": 2.0, "run": 9.0}
    assert [dict(rank.start) for rank in result.ranks] == [
        {"fork": 1.0, "import": 2.0, "rendezvous": 1.0, "report": 1.0},
        {"fork": 2.0},
    ]
    assert [(rank.peak_mib, rank.device_peak_mib) for rank in result.ranks] == [(10, 5), (None, None)]


def test_a_device_that_failed_is_not_used_again_and_the_refusal_says_why() -> None:
    hellos = [hello(0), hello(1)]
    first = place(hellos, ASKED)
    assert isinstance(first, Placed)
    bad = first.placement.members[0].devices[0]

    second = place(hellos, Asked(request=ASKED.request, policy="packed", avoid={bad: "Xid 79"}))
    none = place(
        hellos,
        Asked(request=Request(members=2, devices_each=2), policy="packed", avoid={bad: "Xid 79"}),
    )

    assert isinstance(second, Placed)
    assert bad not in second.devices
    assert not isinstance(none, Placed)
    assert any(f"{bad}: it failed in an earlier attempt: Xid 79" in reason for reason in none.reasons)
    assert not none.waits


def test_data_without_any_row_is_refused() -> None:
    refused = place([hello(0, rows=0), hello(1, rows=0)], ASKED)

    assert not isinstance(refused, Placed)
    assert refused.reasons == ("the data has no rows",)
    assert isinstance(place([hello(0, rows=0), hello(1, rows=1)], ASKED), Placed)
