"""Inference on a real Spark Connect server: who shares a model with whom, and streams from a real broker."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import tritium
from rigs.application import Application
from rigs.connect import ConnectServer
from rigs.jars import DELTA, DELTA_CONF, KAFKA, for_spark
from rigs.kafka import broker

pytestmark = [
    pytest.mark.spark,
    pytest.mark.connect,
    pytest.mark.kafka,
    pytest.mark.delta,
    pytest.mark.timeout(2400),
]

CLIENT = Path(__file__).with_name("client.py")
STREAM = Path(__file__).with_name("stream_client.py")
SWAP = Path(__file__).with_name("swap_client.py")
SCRIPT = str(Path(sys.executable).with_name("gpu-discover"))
LIMIT_S = 900.0


@pytest.fixture(scope="module")
def stumble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that makes the next Python of ``foreachBatch`` end before it says anything, and is gone then."""
    return tmp_path_factory.mktemp("python") / "stumble"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, stumble: Path) -> Iterator[ConnectServer]:
    conf = tritium.conf("local", gpus=4, memory_mib=700, discovery_script=SCRIPT)
    jars = {"spark.jars": for_spark(KAFKA, DELTA), **DELTA_CONF}
    folder = tmp_path_factory.mktemp("connect")
    environ = {"TRITIUM_MACHINE": "dgx-a100", "PYSPARK_PYTHON": str(stumbling(stumble))}
    with ConnectServer(folder, conf={**conf, **jars}, environ=environ) as server:
        yield server


def stumbling(mark: Path) -> Path:
    """Write a Python that heeds `stumble`."""
    python = mark.with_name("python")
    python.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *foreach_batch_worker*) rm "{mark}" 2>/dev/null && exit 1 ;; esac\n'
        f'exec "{sys.executable}" "$@"\n'
    )
    python.chmod(0o755)
    return python


def test_two_sessions_of_one_user_share_a_model_and_another_user_has_one_of_their_own(
    server: ConnectServer, state: Path
) -> None:
    loads = state / "loads"
    loads.mkdir()

    def client(user: str) -> Application:
        url = f"{server.url}/;user_id={user}"
        return Application(CLIENT, environment={**server.environment(), "SPARK_REMOTE": url})

    def counted(application: Application) -> int:
        application.tell("counted")
        return int(application.says("counted", limit_s=LIMIT_S))

    def devices() -> Counter[str]:
        return Counter(path.name.partition(" ")[0] for path in loads.iterdir())

    with client("ada") as first, client("ada") as second, client("eve") as third:
        for application in (first, second, third):
            application.says("ready", limit_s=LIMIT_S)
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(counted, (first, second))) == [640, 640]
        after_both = devices()
        assert [counted(first), counted(second)] == [640, 640]
        after_again = devices()
        counted(third)
        after_another = devices()

    assert len(after_both) == 8
    assert set(after_both.values()) == {1}, "each device loaded the model once for both sessions"
    assert after_again == after_both
    assert after_another.total() > after_both.total(), "another user's code is not run in this one's process"


def test_a_stream_from_kafka_goes_through_a_model_into_tables(
    server: ConnectServer, stumble: Path, tmp_path: Path
) -> None:
    stumble.touch()
    with broker(tmp_path / "kafka") as kafka:
        kafka.create("numbers")
        kafka.produce("numbers", [*(json.dumps({"n": n}).encode() for n in range(50)), b"no json"])
        arguments = (kafka.servers, "numbers", str(tmp_path))
        with Application(STREAM, *arguments, environment=server.environment()) as application:
            found = application.says("found", limit_s=LIMIT_S)

    for name in ("parquet", "delta"):
        assert found[name]["answers"] == [2.0 * n for n in range(50)]
        assert found[name]["errors"] == ["the value is no JSON object of the schema"]
        assert found[name]["batches"] == 3
    assert found["reported"] == {name: [0, 1, 2] for name in ("parquet", "delta", "both")}
    assert found["both"] == [50, 1], "and what failed to a table of its own"
    assert not stumble.exists(), "though Spark's Python did not come up at first"
    kind, sentence = found["failed"]
    assert kind == "ModelFailed"
    assert "predict failed: ValueError: no such number" in sentence


def test_a_stream_to_kafka_takes_a_new_version_and_rolls_one_back_that_fails_its_check(
    server: ConnectServer, tmp_path: Path
) -> None:
    with broker(tmp_path / "kafka") as kafka:
        kafka.create("swap", "swap-out")
        arguments = (kafka.servers, "swap", str(tmp_path))
        with Application(SWAP, *arguments, environment=server.environment()) as application:
            found = application.says("found", limit_s=LIMIT_S)
            headers = [headers["tritium-id"] for _, _, headers in kafka.messages("swap-out")]

    assert found["added"] == [[n, 100.0 if n < 5 else 200.0] for n in range(15)]
    (rejected,) = found["rejected"]
    assert rejected.endswith("of the model was rejected: its check returned False")
    assert found["back"]
    assert len(set(headers)) == 15
