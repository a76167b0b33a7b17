"""Gangs, inference and devices from a client of a real Spark Connect server, with two executors."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import tritium
from rigs.application import Application, Family, meeting
from rigs.connect import ConnectServer
from rigs.processes import assert_gone, eventually
from rigs.standalone import Standalone
from tritium.spark.conf import Wish, decide
from tritium_discovery import holds

pytestmark = [pytest.mark.spark, pytest.mark.connect, pytest.mark.timeout(900)]

CLIENT = Path(__file__).with_name("client.py")
SCRIPT = str(Path(sys.executable).with_name("gpu-discover"))
MACHINE = {"TRITIUM_MACHINE": "dgx-a100"}
LIMIT_S = 400.0
"""Generous: it is how long a test may take on a machine that does much else."""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    conf = tritium.conf("local", gpus=4, memory_mib=700, discovery_script=SCRIPT)
    folder = tmp_path_factory.mktemp("connect")
    with (
        ConnectServer(folder, conf=conf, environ=MACHINE) as server,
        Application(CLIENT, environment=server.environment()) as application,
    ):
        application.says("ready", limit_s=LIMIT_S)
        yield application


def answer(client: Application, word: str) -> Any:
    client.tell(word)
    return client.says(word, limit_s=LIMIT_S)


def test_a_gang_runs_and_tells_all_that_it_tells_on_classic_spark(client: Application, state: Path) -> None:
    said = answer(client, "gang")

    assert [value["rank"] for value in said["values"]] == [0, 1, 2, 3]
    assert all(value["gathered"] == [0, 10, 20, 30] for value in said["values"])
    devices = [uuid for value in said["values"] for uuid in value["devices"]]
    assert len(set(devices)) == 4
    assert said["ranks"] == [[rank, executor, [devices[rank]]] for rank, executor, _ in said["ranks"]]
    assert {executor for _, executor, _ in said["ranks"]} <= {"executor 0", "executor 1"}
    assert said["reports"] == [[rank, rank] for rank in range(4)]
    assert said["lines"] == [[rank, f"rank {rank} speaks"] for rank in range(4)]
    assert said["phases"] == ["launch", "place", "queue", "rows", "run"]
    assert not holds.held(state)


def test_every_row_reaches_exactly_one_rank(client: Application) -> None:
    said = answer(client, "data")

    assert sorted(i for part in said for i in part) == list(range(1000))
    assert len(said) == 3


def test_rows_may_take_longer_to_compute_than_a_gang_to_start(client: Application) -> None:
    assert answer(client, "slow_data") == 10


@pytest.mark.torch
def test_torch_ranks_find_each_other(client: Application) -> None:
    assert answer(client, "gloo") == [3.0, 3.0]


def test_a_failing_rank_is_named_with_its_own_traceback(client: Application) -> None:
    kind, sentence, trace = answer(client, "bug")["failed"]

    assert (kind, sentence) == ("RankFailed", "train: rank 1 failed: ValueError: this rank cannot")
    assert "in fail" in trace


def test_more_ranks_than_the_server_could_ever_start_are_refused_at_once(client: Application) -> None:
    kind, sentence, _ = answer(client, "too_many")["failed"]

    assert kind == "Unplaceable"
    assert "9 ranks must start at once; the server has room for 8 at most" in sentence


def test_a_device_that_is_too_small_is_refused_with_its_numbers(client: Application) -> None:
    kind, sentence, _ = answer(client, "too_small")["failed"]

    assert kind == "Unplaceable"
    assert "102400" in sentence


def test_a_gang_that_spark_does_not_start_is_given_up(client: Application) -> None:
    client.tell("busy")
    client.says("hog", limit_s=LIMIT_S)
    kind, sentence, _ = client.says("busy", limit_s=LIMIT_S)["failed"]

    assert kind == "TooSlow"
    assert "did not start within 5 s (launch_timeout_s): Spark runs none of its tasks" in sentence


def sleeping(state: Path) -> list[psutil.Process]:
    """Wait for the two sleepers, and take each with its child."""
    files = [state / f"sleeper-{rank}" for rank in range(2)]

    def pids() -> list[int]:
        return [int(pid) for file in files if file.exists() for pid in file.read_text().split()]

    eventually(lambda: len(pids()) == 4, limit_s=LIMIT_S)
    processes = [psutil.Process(pid) for pid in pids()]
    for file in files:
        file.unlink()
    return processes


@pytest.mark.parametrize("how", ["interrupt_all", "interrupt_tag", "cancel"])
def test_an_interrupt_ends_every_process_of_the_gang(client: Application, state: Path, how: str) -> None:
    client.tell("sleep")
    processes = sleeping(state)
    client.tell(how)
    client.says(how, limit_s=LIMIT_S)
    kind, sentence, _ = client.says("sleep", limit_s=LIMIT_S)["failed"]

    assert kind == "GangCancelled", sentence
    assert_gone(processes, within_s=60)
    eventually(lambda: not holds.held(state), limit_s=60)


@pytest.mark.parametrize("first", [True, False], ids=["the one that holds the meeting", "another"])
def test_a_worker_that_stands_still_ends_the_gang(client: Application, state: Path, *, first: bool) -> None:
    client.tell("sleep")
    processes = sleeping(state)
    families = [Family(psutil.Process(process.ppid())) for process in processes[::2]]
    workers = {worker for family in families for worker in family.workers}
    (host,) = [worker for worker in workers if listening(worker)]
    (other,) = meeting(workers - {host}, host.pid)

    (host if first else other).suspend()
    kind, sentence, _ = client.says("sleep", limit_s=LIMIT_S)["failed"]

    assert kind == "GangLost", sentence
    lost = "a task on .+ lost the gang's first task: " if first else "lost rank . on .+ was silent for 10 s"
    assert re.search(lost, sentence), sentence
    assert_gone(processes, within_s=60)
    eventually(lambda: not holds.held(state), limit_s=60)


def listening(process: psutil.Process) -> bool:
    return any(one.status == "LISTEN" for one in process.net_connections())


def test_a_gang_whose_rows_are_never_computed_ends_some_time_after_its_limit(client: Application) -> None:
    kind, sentence, _ = answer(client, "hang")["failed"]

    assert kind == "TooSlow"
    assert "was still running 30 s after its time limit (timeout_s)" in sentence


def test_ctrl_c_in_the_client_ends_every_process_of_the_gang(client: Application, state: Path) -> None:
    client.tell("sleep here")
    processes = sleeping(state)
    client.process.send_signal(signal.SIGINT)

    assert client.says("stopped", limit_s=LIMIT_S) == "by Ctrl-C"
    assert_gone(processes, within_s=60)
    eventually(lambda: not holds.held(state), limit_s=60)


def test_a_killed_rank_is_tried_again_from_its_last_checkpoint(client: Application) -> None:
    assert answer(client, "resume") == [[1, 2], [1, 2]]


def test_inference_gives_each_task_a_device(client: Application) -> None:
    said = answer(client, "infer")

    assert [row for row, _ in said] == [0, 1, 2, 3]
    assert all(uuid.startswith("GPU-") for _, uuid in said)


def test_a_model_that_does_not_load_is_one_clear_error(client: Application) -> None:
    kind, sentence, trace = answer(client, "bad_model")["failed"]

    assert kind == "ModelFailed"
    assert "load failed: OSError: no weights for" in sentence
    assert "in load" in trace


def test_a_task_of_ones_own_holds_devices(client: Application) -> None:
    assert all(len(set(uuids)) == 2 for uuids in answer(client, "own_task"))


def test_a_server_on_two_standalone_workers(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    environ = {**MACHINE, "TRITIUM_DIR": str(tmp_path / "state")}
    with Standalone(tmp_path) as cluster:
        wish = Wish(
            cluster="standalone", cores=2, gpus=4, memory_mib=700, master=cluster.url, python=sys.executable
        )
        settings = decide(wish)
        workers = {one.key: one.value for one in settings if one.reader == "worker"}
        for name in ("worker-0", "worker-1"):
            cluster.worker(name, conf=workers, environ=environ, cores=2).said("Successfully registered")
        conf = {one.key: one.value for one in settings if one.reader == "application"}
        with (
            ConnectServer(tmp_path, conf=conf, environ=environ) as server,
            Application(CLIENT, environment={**server.environment(), **environ}) as client,
        ):
            client.says("ready", limit_s=LIMIT_S)
            said = answer(client, "gang")

    assert len({uuid for value in said["values"] for uuid in value["devices"]}) == 4
    assert {executor for _, executor, _ in said["ranks"]} == {"executor 0", "executor 1"}
