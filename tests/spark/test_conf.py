"""Which properties go together on which cluster, and every reason why something cannot be had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tritium
from tritium import cli
from tritium.errors import BadSpec
from tritium.spark.conf import CLUSTERS, Wish, check, decide
from tritium_discovery.spark import properties

GOLDEN = Path(__file__).with_name("golden") / "conf"
PYTHON = "/opt/venv/bin/python"

PRINTED: dict[str, list[str]] = {
    "local": ["local", "--gpus", "4", "--python", PYTHON],
    "standalone": [
        *("standalone", "--executors", "4", "--workers", "2", "--gpus", "2", "--cores", "8"),
        *("--master", "spark://head:7077", "--python", PYTHON, "--ranks", "8"),
    ],
    "yarn-inference": [
        *("yarn", "--executors", "8", "--no-gangs", "--dynamic", "--python", PYTHON),
        *("--master", "yarn", "--discovery-script", "/usr/bin/gpu-discover"),
    ],
    "kubernetes-rapids": [
        *("kubernetes", "--shared", "--image", "registry/app:1", "--python", PYTHON),
        *("--meeting-port", "7999", "--preimport", "jax"),
    ],
    "no-gpus": ["standalone", "--gpus", "0", "--gpus-per-rank", "0"],
}


@pytest.mark.parametrize("name", PRINTED)
def test_the_printed_file_is_as_it_was(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["conf", *PRINTED[name], "--explain"]) == 0

    said = capsys.readouterr()
    assert said.err == ""
    assert said.out == (GOLDEN / f"{name}.conf").read_text()


def test_the_file_the_json_and_the_api_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["conf", *PRINTED["yarn-inference"]])
    file = properties(capsys.readouterr().out)
    cli.main(["conf", *PRINTED["yarn-inference"], "--output", "json"])
    data = json.loads(capsys.readouterr().out)

    api = tritium.conf(
        "yarn",
        executors=8,
        gangs=False,
        dynamic=True,
        python=PYTHON,
        master="yarn",
        discovery_script="/usr/bin/gpu-discover",
    )

    assert file == api == {one["key"]: one["value"] for one in data}


def test_what_standalone_workers_read_is_not_the_applications() -> None:
    application = tritium.conf("standalone", gpus=2, python=PYTHON)

    assert not [key for key in application if key.startswith("spark.worker.")]
    assert application["spark.executor.resource.gpu.amount"] == "2"


def test_no_default_profile_ever_asks_for_a_device() -> None:
    for cluster in CLUSTERS:
        image = "i" if cluster == "kubernetes" else None
        assert "spark.task.resource.gpu.amount" not in tritium.conf(cluster, python=PYTHON, image=image)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"cluster": "mesos"}, "cluster: 'mesos' is unknown; there are local, standalone, yarn, kubernetes"),
    ({"executors": 0}, "executors: expected an integer >= 1, got 0"),
    ({"cores": "4"}, "cores: expected an integer >= 1, got '4'"),
    ({"memory_mib": 100}, "memory_mib: expected an integer >= 471, got 100"),
    ({"meeting_port": 70000}, "meeting_port: expected a port from 1 to 65535, got 70000"),
    ({"executors": 3, "workers": 2}, "workers: 3 executors cannot be spread evenly over 2 Workers"),
    ({"gpus": 3, "gpus_per_rank": 2}, "gpus: 1 of the 3 of an executor stay idle beside ranks of 2"),
    (
        {"ranks": 9, "gpus": 4},
        "ranks: 9 must start at once, and 2 executors of 4 cores and 4 gpus have room for 8 ranks of 1 gpus",
    ),
    (
        {"ranks": 9, "gpus": 0, "gpus_per_rank": 0},
        "ranks: 9 must start at once, and 2 executors of 4 cores and 0 gpus have room for 8 ranks of 0 gpus",
    ),
    ({"ranks": 1, "gpus": 0}, "ranks: 1 ranks of 1 gpus cannot start where executors have none"),
    (
        {"python": "python3"},
        "python: expected an absolute path, the same on every node, got 'python3'",
    ),
    ({"python": None}, "python: say where the executors' Python is, so that gpu-discover is found beside it"),
    ({"cluster": "kubernetes"}, "image: executors on kubernetes need one, with Tritium in it"),
    ({"image": "i"}, "image: standalone runs no containers"),
    ({"cluster": "yarn", "workers": 2}, "workers: yarn has none; say executors"),
    ({"master": "yarn"}, "master: standalone has one like 'spark://', got 'yarn'"),
    (
        {"dynamic": True},
        (
            "dynamic: Spark refuses barrier stages, which gangs are, under dynamic allocation (SPARK-24942); "
            "say gangs=False (--no-gangs) for an application that only infers"
        ),
    ),
    (
        {"cluster": "local", "dynamic": True, "gangs": False},
        "dynamic: a local cluster has all of its executors from the start",
    ),
    ({"ranks": 2, "gangs": False}, "ranks: without gangs there are none"),
    ({"shared": True, "gpus": 0}, "shared: executors without gpus share none"),
    (
        {"shared": True, "gpus": 2},
        "shared: RAPIDS takes executors of one gpu, not of 2; start more executors instead",
    ),
]


@pytest.mark.parametrize(("changes", "problem"), REFUSED)
def test_what_cannot_be_had_is_refused_with_its_reason(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(BadSpec) as caught:
        Wish(**{"cluster": "standalone", "python": PYTHON, **changes})

    assert caught.value.problems == (problem,)


def test_all_problems_are_said_at_once() -> None:
    with pytest.raises(BadSpec) as caught:
        Wish(cluster="kubernetes", workers=2, python="bin/python", dynamic=True, ranks=99)

    said = [problem.partition(":")[0] for problem in caught.value.problems]
    assert said == ["ranks", "python", "image", "workers", "dynamic"]


def test_the_command_without_a_cluster_says_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["conf"]) == 2

    said = capsys.readouterr()
    assert said.out == ""
    assert "say a CLUSTER (local, standalone, yarn, kubernetes), or --check FILE" in said.err


@given(
    cluster=st.sampled_from(CLUSTERS),
    executors=st.integers(1, 4),
    per_worker=st.integers(1, 2),
    cores=st.integers(1, 8),
    gpus=st.integers(0, 8),
    shared=st.booleans(),
    dynamic=st.booleans(),
)
def test_what_is_printed_has_no_mistake(
    cluster: Any, executors: int, per_worker: int, cores: int, gpus: int, *, shared: bool, dynamic: bool
) -> None:
    wish = Wish(
        cluster=cluster,
        executors=executors * per_worker,
        workers=executors if cluster in ("local", "standalone") else None,
        cores=max(cores, gpus),
        gpus=1 if shared else gpus,
        python=PYTHON,
        image="i" if cluster == "kubernetes" else None,
        gangs=not dynamic,
        dynamic=dynamic and cluster != "local",
        shared=shared,
    )

    found = check({one.key: one.value for one in decide(wish)}, cluster=cluster)

    # Under dynamic allocation no gang can run, which such a wish has said; nobody needs the fork server then.
    expected = {"spark.dynamicAllocation.enabled"} if wish.dynamic else set()
    expected |= set() if wish.gangs else {"spark.python.daemon.module"}
    assert {finding.key for finding in found} == expected
