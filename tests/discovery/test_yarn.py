"""Real YARN: executors discover for themselves, as it never tells Spark which GPUs a container was given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigs.jvm import COMMAND
from rigs.yarn import Yarn

pytestmark = [pytest.mark.yarn, pytest.mark.timeout(1500)]

APP = Path(__file__).with_name("spark_app.py")


@pytest.fixture(scope="module")
def yarn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yarn]:
    with Yarn(tmp_path_factory.mktemp("yarn")) as started:
        yield started


def conf(state: Path, machine: str) -> dict[str, str]:
    return {
        "spark.executor.instances": "2",
        "spark.executor.cores": "2",
        "spark.executor.resource.gpu.amount": "2",
        "spark.executor.resource.gpu.discoveryScript": str(COMMAND),
        "spark.task.resource.gpu.amount": "1",
        "spark.executorEnv.TRITIUM_MACHINE": machine,
        "spark.executorEnv.TRITIUM_DIR": str(state),
        "spark.executorEnv.TEST_SLEEP_S": "3",
    }


def test_two_executors_on_a_node_without_isolation_get_two_devices_each_and_none_in_common(
    yarn: Yarn, tmp_path: Path
) -> None:
    # SPARK-30689: "your resource discovery has to handle properly discovering and isolating the resource".
    # The amount is nowhere but in the configuration that YARN unpacks beside each executor.
    said = yarn.submit([APP, "yarn", "4"], conf(tmp_path / "state", "dgx-a100"))

    tasks = json.loads(said.splitlines()[-1])
    assert sorted(uuid for task in tasks for uuid in task["uuids"]) == [
        f"GPU-fe1e7ec4-7472-4974-8975-{number:012x}" for number in range(4)
    ]
    by_executor = {task["worker"]: set[str]() for task in tasks}
    for task in tasks:
        by_executor[task["worker"]] |= set(task["addresses"])
    assert sorted(map(sorted, by_executor.values())) == [["0", "1"], ["2", "3"]]
    assert "gpu-discover: these devices are emulated (TRITIUM_MACHINE=dgx-a100)" in yarn.logs()
