"""The mistakes that people make in their Spark properties, each found with its consequence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tritium import cli
from tritium.spark.conf import Cluster, check
from tritium.spark.conf.check import RULES
from tritium.spark.conf.interpreter import examine, judge

GOOD = {
    "spark.master": "spark://head:7077",
    "spark.worker.resource.gpu.amount": "4",
    "spark.worker.resource.gpu.discoveryScript": "/opt/venv/bin/gpu-discover",
    "spark.executor.resource.gpu.amount": "4",
    "spark.executor.cores": "8",
    "spark.pyspark.python": "/opt/venv/bin/python",
    "spark.python.daemon.module": "tritium.train.daemon",
}
YARN = {
    "spark.master": "yarn",
    "spark.executor.resource.gpu.amount": "4",
    "spark.executor.resource.gpu.discoveryScript": "/opt/venv/bin/gpu-discover",
    "spark.pyspark.python": "/opt/venv/bin/python",
    "spark.python.daemon.module": "tritium.train.daemon",
}
KUBERNETES = {**YARN, "spark.master": "k8s://https://api:6443"}
RAPIDS = {
    **GOOD,
    "spark.worker.resource.gpu.amount": "1",
    "spark.executor.resource.gpu.amount": "1",
    "spark.plugins": "com.nvidia.spark.SQLPlugin",
    "spark.tritium.addresses": "exact",
    "spark.executorEnv.TRITIUM_ADDRESSES": "exact",
    "spark.rapids.memory.gpu.allocFraction": "0.4",
}

ABSENT: Any = None


def found(base: dict[str, str], changes: dict[str, Any]) -> list[tuple[str, str, str]]:
    values = {key: value for key, value in {**base, **changes}.items() if value is not ABSENT}
    return [(one.weight, one.key.removeprefix("spark."), one.consequence) for one in check(values)]


MISTAKES: list[tuple[dict[str, str], dict[str, Any], str, str, str]] = [
    (GOOD, {"spark.worker.resource.gpu.amount": "four"}, "wrong", "worker.resource.gpu.amount", "an integer"),
    (
        GOOD,
        {"spark.executor.resource.gpu.amount": "0.5"},
        "wrong",
        "executor.resource.gpu.amount",
        "an integer",
    ),
    (
        GOOD,
        {"spark.task.resource.gpu.amount": "1.5"},
        "wrong",
        "task.resource.gpu.amount",
        "a fraction up to 1",
    ),
    (GOOD, {"spark.task.resource.gpu.amount": "0.5"}, "wrong", "task.resource.gpu.amount", "int('0.5')"),
    (GOOD, {"spark.task.resource.gpu.amount": "1"}, "costly", "task.resource.gpu.amount", "4 of the 8 slots"),
    (
        GOOD,
        {"spark.task.resource.gpu.amount": "1", "spark.executor.cores": ABSENT},
        "costly",
        "task.resource.gpu.amount",
        "run 4 tasks at once, whatever its cores",
    ),
    (
        GOOD,
        {"spark.executor.resource.gpu.amount": ABSENT},
        "wrong",
        "executor.resource.gpu.amount",
        "never given",
    ),
    (
        {},
        {"spark.task.resource.gpu.amount": "1"},
        "wrong",
        "executor.resource.gpu.amount",
        "Spark does not start",
    ),
    (
        GOOD,
        {"spark.executor.resource.gpu.amount": "8"},
        "wrong",
        "executor.resource.gpu.amount",
        "waits for ever",
    ),
    (
        GOOD,
        {"spark.executor.resource.gpu.amount": "3"},
        "costly",
        "worker.resource.gpu.amount",
        "1 of the Worker",
    ),
    (GOOD, {"spark.executor.cores": "2"}, "costly", "executor.cores", "of its 4 devices 2 stay idle"),
    (
        GOOD,
        {"spark.driver.resource.gpu.amount": "1"},
        "costly",
        "driver.resource.gpu.amount",
        "driver claims",
    ),
    (
        GOOD,
        {"spark.worker.resource.gpu.discoveryScript": ABSENT},
        "wrong",
        "worker.resource.gpu.discoveryScript",
        "the worker ends",
    ),
    (
        GOOD,
        {"spark.worker.resource.gpu.discoveryScript": "gpu-discover"},
        "wrong",
        "worker.resource.gpu.discoveryScript",
        "without a shell or a PATH",
    ),
    (
        YARN,
        {"spark.executor.resource.gpu.discoveryScript": ABSENT},
        "wrong",
        "executor.resource.gpu.discoveryScript",
        "the executor ends",
    ),
    (
        YARN,
        {"spark.executor.resource.gpu.discoveryScript": "/opt/spark/getGpusResources.sh"},
        "costly",
        "executor.resource.gpu.discoveryScript",
        "lists every card",
    ),
    (
        YARN,
        {"spark.resources.discoveryPlugin": "com.nvidia.spark.ExclusiveModeGpuDiscoveryPlugin"},
        "costly",
        "resources.discoveryPlugin",
        "nothing is claimed",
    ),
    (KUBERNETES, {}, "wrong", "executor.resource.gpu.vendor", "makes no executor"),
    (
        YARN,
        {"spark.yarn.executor.resource.yarn.io/gpu.amount": "4"},
        "wrong",
        "yarn.executor.resource.yarn.io/gpu.amount",
        "Spark refuses",
    ),
    (GOOD, {"spark.master": "local[4]"}, "wrong", "executor.resource.gpu.amount", "no executors"),
    (YARN, {"spark.driver.host": "127.0.0.1"}, "wrong", "driver.host", "on themselves"),
    (GOOD, {"spark.tritium.address": "exact"}, "wrong", "tritium.address", "no such property"),
    (GOOD, {"spark.tritium.addresses": "strict"}, "wrong", "tritium.addresses", "Only 'exact'"),
    (GOOD, {"spark.tritium.meeting.port": "http"}, "wrong", "tritium.meeting.port", "no port"),
    (GOOD, {"spark.tritium.meeting.port": "7999"}, "costly", "tritium.meeting.port", "One gang at a time"),
    (
        GOOD,
        {"spark.executorEnv.CUDA_VISIBLE_DEVICES": "0"},
        "wrong",
        "executorEnv.CUDA_VISIBLE_DEVICES",
        "opens the wrong card",
    ),
    (
        GOOD,
        {"spark.executorEnv.CUDA_DEVICE_ORDER": "FASTEST_FIRST"},
        "wrong",
        "executorEnv.CUDA_DEVICE_ORDER",
        "other cards than gpu-discover",
    ),
    (
        GOOD,
        {"spark.dynamicAllocation.enabled": "true"},
        "wrong",
        "dynamicAllocation.enabled",
        "SPARK-24942",
    ),
    (
        RAPIDS,
        {"spark.executor.resource.gpu.amount": "2", "spark.worker.resource.gpu.amount": "2"},
        "wrong",
        "executor.resource.gpu.amount",
        "RAPIDS takes executors of one device",
    ),
    (
        RAPIDS,
        {"spark.tritium.addresses": ABSENT, "spark.executorEnv.TRITIUM_ADDRESSES": ABSENT},
        "wrong",
        "tritium.addresses",
        "both may open the same card",
    ),
    (
        RAPIDS,
        {"spark.rapids.memory.gpu.allocFraction": ABSENT},
        "costly",
        "rapids.memory.gpu.allocFraction",
        "find none",
    ),
    (
        RAPIDS,
        {"spark.python.daemon.module": "rapids.daemon"},
        "costly",
        "python.daemon.module",
        "RAPIDS's daemon has no fork server",
    ),
    (
        RAPIDS,
        {"spark.executorEnv.TRITIUM_ADDRESSES": ABSENT},
        "costly",
        "executorEnv.TRITIUM_ADDRESSES",
        "RDD jobs do not see it",
    ),
    (
        GOOD,
        {"spark.executorEnv.TRITIUM_ADDRESSES": "exact"},
        "costly",
        "tritium.addresses",
        "Only RDD jobs are sure",
    ),
    (
        GOOD,
        {"spark.task.resource.gpu.amount": "1"},
        "costly",
        "python.worker.reuse",
        "keep whatever an earlier task left",
    ),
    (GOOD, {"spark.speculation": "true"}, "costly", "speculation", "second device"),
    (
        GOOD,
        {"spark.scheduler.minRegisteredResourcesRatio": "0.5"},
        "costly",
        "scheduler.minRegisteredResourcesRatio",
        "before its executors",
    ),
    (GOOD, {"spark.io.encryption.enabled": "true"}, "costly", "io.encryption.enabled", "in a plain file"),
    (GOOD, {"spark.network.crypto.enabled": "true"}, "costly", "network.crypto.enabled", "not encrypted"),
    (GOOD, {"spark.python.daemon.module": ABSENT}, "costly", "python.daemon.module", "no fork server"),
    (GOOD, {"spark.python.daemon.module": "my.daemon"}, "costly", "python.daemon.module", "of Tritium's"),
    (GOOD, {"spark.python.use.daemon": "false"}, "costly", "python.use.daemon", "a Python of its own"),
    (GOOD, {"spark.python.worker.reuse": "false"}, "costly", "python.worker.reuse", "gains nothing"),
    (
        GOOD,
        {"spark.python.worker.killOnIdleTimeout": "true", "spark.python.worker.idleTimeoutSeconds": "600"},
        "wrong",
        "python.worker.killOnIdleTimeout",
        "after 600 s",
    ),
    (GOOD, {"spark.executor.pyspark.memory": "8g"}, "wrong", "executor.pyspark.memory", "RLIMIT_AS"),
    (
        GOOD,
        {"spark.executorEnv.OMP_NUM_THREADS": "1"},
        "costly",
        "executorEnv.OMP_NUM_THREADS",
        "do not heed it",
    ),
    (GOOD, {"spark.pyspark.python": ABSENT}, "costly", "pyspark.python", "must have Tritium"),
]


@pytest.mark.parametrize(("base", "changes", "weight", "key", "says"), MISTAKES)
def test_a_mistake_is_found_with_its_consequence(
    base: dict[str, str], changes: dict[str, Any], weight: str, key: str, says: str
) -> None:
    said = found(base, changes)

    assert [one for one in said if one[:2] == (weight, key) and says in one[2]], said


@pytest.mark.parametrize(
    "base", [GOOD, YARN, {**KUBERNETES, "spark.executor.resource.gpu.vendor": "v"}, RAPIDS, {}]
)
def test_good_properties_have_no_mistake(base: dict[str, str]) -> None:
    said = found(base, {})

    # An empty file has one cost: ranks that start without a fork server.
    assert [one[1] for one in said] == ([] if base else ["python.daemon.module"])


def test_every_rule_has_a_mistake_here() -> None:
    caught = set()
    for base, changes, *_ in MISTAKES:
        values = {key: value for key, value in {**base, **changes}.items() if value is not ABSENT}
        from tritium.spark.conf import conf_of

        caught |= {rule for rule in RULES if any(rule(conf_of(values, cluster=None)))}

    assert caught == set(RULES)


def test_what_fails_comes_first() -> None:
    weights = [
        one[0] for one in found(GOOD, {"spark.speculation": "true", "spark.task.resource.gpu.amount": "0.5"})
    ]

    assert weights == sorted(weights, reverse=True)
    assert set(weights) == {"wrong", "costly"}


@pytest.mark.parametrize(("cluster", "asks"), [("yarn", True), ("standalone", False), (None, False)])
def test_the_cluster_may_be_said_where_the_file_does_not_tell(cluster: Cluster | None, *, asks: bool) -> None:
    said = check({"spark.executor.resource.gpu.amount": "1"}, cluster=cluster)

    assert asks == any(one.key == "spark.executor.resource.gpu.discoveryScript" for one in said)


def write(folder: Path, values: dict[str, str]) -> Path:
    file = folder / "spark-defaults.conf"
    file.write_text("".join(f"{key}  {value}\n" for key, value in values.items()))
    return file


def test_the_command_prints_the_findings_and_says_that_something_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, {**GOOD, "spark.dynamicAllocation.enabled": "true", "spark.speculation": "true"})

    assert cli.main(["conf", "--check", str(file)]) == 48

    said = capsys.readouterr()
    golden = Path(__file__).with_name("golden") / "conf" / "check.txt"
    assert said.out == golden.read_text()
    assert said.err == f"tritium: {file}: 1 of 2 findings make something fail\n"


def test_what_only_costs_something_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, {**GOOD, "spark.speculation": "true"})

    assert cli.main(["conf", "--check", str(file), "--output", "json"]) == 0

    (finding,) = json.loads(capsys.readouterr().out)
    assert finding["key"] == "spark.speculation"


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["conf", "--check", str(tmp_path / "none.conf")]) == 31

    assert "none.conf cannot be read" in capsys.readouterr().err


def bare_python(folder: Path) -> Path:
    """This very Python without what is installed beside it."""
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    script.chmod(0o755)
    return script


def test_a_python_without_tritium_is_found_by_asking_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, python = write(tmp_path, GOOD), bare_python(tmp_path)

    assert cli.main(["conf", "--check", str(file), "--python", str(python)]) == 48

    assert f"spark.pyspark.python is {python}\n    It has no tritium: every gang" in capsys.readouterr().out


def test_the_python_of_the_file_is_asked_where_it_is_on_this_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, {**GOOD, "spark.pyspark.python": str(bare_python(tmp_path))})

    assert cli.main(["conf", "--check", str(file)]) == 48
    assert "It has no tritium" in capsys.readouterr().out


def test_this_python_has_all_that_an_executor_needs() -> None:
    assert examine(Path(sys.executable)) == ()


def test_a_python_that_does_not_run_is_one_finding(tmp_path: Path) -> None:
    (absent,) = examine(tmp_path / "nowhere")
    (broken,) = examine(Path("/bin/false"))

    assert absent.consequence.startswith("It cannot be started")
    assert broken.consequence == "It does not run: it said nothing."


def test_versions_that_do_not_go_together_are_named() -> None:
    ours = {"python": "3.11.7", "tritium": "0.2.0", "pyspark": "4.2.0", "pyarrow": "20.0"}
    theirs = {**ours, "python": "3.12.1", "tritium": "0.1.0"}

    said = [finding.consequence for finding in judge(Path("p"), theirs=theirs, ours=ours)]

    assert said == [
        "It is Python 3.12.1 and the driver has 3.11.7: Spark refuses every task.",
        "It has tritium 0.1.0 and the driver 0.2.0: what one of them pickles the other may not read.",
    ]


def test_the_command_needs_nothing_but_the_base_install() -> None:
    """Workers have no pyspark; ``-S`` and an import hook would say so if anything asked for it."""
    program = (
        "import sys; sys.modules.update(dict.fromkeys(['pyspark', 'pyarrow', 'numpy', 'rich'])); "
        "from tritium.cli import main; sys.exit(main(['conf', 'local', '--python', '/p/python']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "spark.executor.resource.gpu.amount" in done.stdout
