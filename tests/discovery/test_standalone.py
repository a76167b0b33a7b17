"""Real Spark, standalone: what Workers and executors make of our script, and what a user sees of failures."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from machines import written
from rigs.jvm import COMMAND, clean_environment
from rigs.standalone import Daemon, Standalone
from tritium_discovery import claims

pytestmark = pytest.mark.spark

APP = Path(__file__).with_name("spark_app.py")
DISCOVER = {"spark.worker.resource.gpu.discoveryScript": str(COMMAND)}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    with Standalone(tmp_path_factory.mktemp("standalone")) as started:
        yield started


def environ(directory: Path, machine: str, **variables: str) -> dict[str, str]:
    return {"TRITIUM_MACHINE": machine, "TRITIUM_DIR": str(directory / "state"), **variables}


def amount(count: int) -> dict[str, str]:
    return {**DISCOVER, "spark.worker.resource.gpu.amount": str(count)}


@contextmanager
def worker(cluster: Standalone, name: str, **how: Any) -> Iterator[Daemon]:
    daemon = cluster.worker(name, **how)
    try:
        yield daemon
    finally:
        daemon.stop()


@contextmanager
def application(
    cluster: Standalone, tasks: int, conf: Mapping[str, str], variables: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    pairs = [f"{key}={value}" for key, value in conf.items()]
    with subprocess.Popen(
        [sys.executable, APP, cluster.url, str(tasks), *pairs],
        env=clean_environment(SPARK_LOCAL_IP="127.0.0.1", PYSPARK_PYTHON=sys.executable, **variables),
        stdout=subprocess.PIPE,
        text=True,
        cwd=cluster.directory,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


EXECUTORS = {
    "spark.executor.memory": "512m",
    "spark.executor.resource.gpu.amount": "8",
    "spark.task.resource.gpu.amount": "1",
    "spark.executorEnv.TEST_SLEEP_S": "3",
}


def test_two_workers_on_one_host_share_sixteen_devices_without_one_given_twice(
    cluster: Standalone, tmp_path: Path
) -> None:
    how = {"conf": amount(8), "environ": environ(tmp_path, "dgx-16")}
    with worker(cluster, "one", **how) as one, worker(cluster, "other", **how) as other:
        one.said("Successfully registered with master")
        other.said("Successfully registered with master")
        with application(cluster, 16, EXECUTORS, {}) as app:
            first_line(app)
            tasks = first_line(app)

        # Spark sorts addresses as strings ("10" < "2"): each is still the card that it was reported for.
        assert sorted(int(address) for task in tasks for address in task["addresses"]) == list(range(16))
        assert {task["uuids"][0][-2:] for task in tasks} == {f"{number:02x}" for number in range(16)}
        assert all(task["uuids"][0].endswith(f"{int(task['addresses'][0]):012x}") for task in tasks)
        assert len(claims.live(tmp_path / "state")) == 2
    assert claims.live(tmp_path / "state") == ()


def test_executors_that_discover_for_themselves_get_different_devices(
    cluster: Standalone, tmp_path: Path
) -> None:
    variables = environ(tmp_path, "dgx-16", TRITIUM_GPU_AMOUNT="4", PYSPARK_PYTHON=sys.executable)
    conf = {
        **EXECUTORS,
        "spark.executor.resource.gpu.amount": "4",
        "spark.executor.resource.gpu.discoveryScript": str(COMMAND),
    }
    with application(cluster, 8, conf, {}) as app:
        said = first_line(app)
        executors = [
            cluster.executor(
                name, driver=said["driver"], app=said["app"], environ=variables | {"TEST_SLEEP_S": "3"}
            )
            for name in ("100", "101")
        ]
        tasks = first_line(app)
        for executor in executors:
            executor.stop()

    assert len({task["uuids"][0] for task in tasks}) == 8


def test_executors_in_pods_report_exactly_what_their_containers_hold(
    cluster: Standalone, tmp_path: Path
) -> None:
    # Spark tells an executor on Kubernetes no amount; the device plugin shows a container its own devices.
    held = [f"GPU-9e4c8859-7472-4974-8975-{number:012x}" for number in range(8)]
    conf = {
        **EXECUTORS,
        "spark.executor.resource.gpu.amount": "4",
        "spark.executor.resource.gpu.discoveryScript": str(COMMAND),
        "spark.executor.resource.gpu.vendor": "nvidia.com",
    }
    with application(cluster, 8, conf, {}) as app:
        said = first_line(app)
        executors = [
            cluster.executor(
                pod,
                driver=said["driver"],
                app=said["app"],
                pod=pod,
                environ=environ(
                    tmp_path / pod,
                    "dgx-16",
                    CUDA_VISIBLE_DEVICES=",".join(uuids),
                    PYSPARK_PYTHON=sys.executable,
                    TEST_SLEEP_S="3",
                ),
            )
            for pod, uuids in (("200", held[:4]), ("201", held[4:]))
        ]
        tasks = first_line(app)
        for executor in executors:
            executor.stop()

    assert sorted(task["uuids"][0] for task in tasks) == held
    assert sorted(task["addresses"][0] for task in tasks) == [*"00112233"]


def test_a_resources_file_is_taken_instead_of_the_script(cluster: Standalone, tmp_path: Path) -> None:
    variables = environ(tmp_path, "two-t4", TRITIUM_GPU_AMOUNT="2")
    file = tmp_path / "resources.json"
    subprocess.run([COMMAND, "--resources-file", file], env=clean_environment(**variables), check=True)
    conf = {"spark.worker.resourcesFile": str(file), "spark.worker.resource.gpu.amount": "2"}

    with worker(cluster, "file", conf=conf, environ=variables) as daemon:
        assert "gpu" in daemon.said(r"Custom resources for spark\.worker[\s\S]*?Successfully registered")[0]
        assert claims.live(tmp_path / "state") == ()


@pytest.mark.parametrize(
    ("machine", "sentence"),
    [
        ("no-driver", "gpu-discover: the NVIDIA driver is not loaded"),
        ("one-gpu", "gpu-discover: 2 devices wanted, 1 of 1 may be used"),
        ("hanging", "gpu-discover: the driver did not answer within 1 s"),
    ],
)
def test_a_worker_whose_discovery_fails_ends_with_our_sentence_in_its_log(
    cluster: Standalone, tmp_path: Path, machine: str, sentence: str
) -> None:
    if machine == "hanging":
        machine = written(tmp_path, hang=["nvmlInit"])
    variables = environ(tmp_path, machine, TRITIUM_TIMEOUT_S="1")

    with worker(cluster, "failing", conf=amount(2), environ=variables) as daemon:
        daemon.said(sentence)
        assert daemon.process.wait(timeout=30) == 1
        daemon.said(r"exited with code (11|17|18)")


def test_a_slow_script_only_makes_the_worker_wait(cluster: Standalone, tmp_path: Path) -> None:
    script = tmp_path / "slow.sh"
    script.write_text(f"#!/bin/sh\nsleep 3\nexec {COMMAND}\n", encoding="utf-8")
    script.chmod(0o755)
    conf = amount(2) | {"spark.worker.resource.gpu.discoveryScript": str(script)}

    with worker(cluster, "slow", conf=conf, environ=environ(tmp_path, "two-t4")) as daemon:
        daemon.said("Successfully registered with master")
        assert len(claims.live(tmp_path / "state")) == 1
