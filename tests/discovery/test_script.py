"""gpu-discover without arguments: what Spark gets, for whom it is claimed, and what a failure says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from machines import written
from rigs.jvm import COMMAND, Answer, FakeJvm, clean_environment
from rigs.nvml.rig import environment
from tritium_discovery import Settings, claims, discover, holds
from tritium_discovery.acceptance import accept

pytestmark = pytest.mark.process


def environ(directory: Path, machine: str = "dgx-a100", **variables: str) -> dict[str, str]:
    return clean_environment(TRITIUM_MACHINE=machine, TRITIUM_DIR=str(directory / "state"), **variables)


def alone(variables: dict[str, str]) -> Answer:
    """The script without a JVM above it."""
    done = subprocess.run([COMMAND], env=variables, capture_output=True, text=True, check=False)
    return Answer(exit_code=done.returncode, stdout=done.stdout, stderr=done.stderr)


def test_it_prints_exactly_one_line_that_spark_accepts(tmp_path: Path) -> None:
    with FakeJvm(tmp_path) as jvm:
        answer = jvm.run(environ(tmp_path, TRITIUM_GPU_AMOUNT="3"))

    assert answer.exit_code == 0
    assert answer.stdout.count("\n") == 1
    assert accept(answer.stdout, exit_code=0, amount=3) == ()


def test_the_report_carries_identities_and_says_that_it_is_emulated(tmp_path: Path) -> None:
    with FakeJvm(tmp_path) as jvm:
        answer = jvm.run(environ(tmp_path, TRITIUM_GPU_AMOUNT="1"))

    report = json.loads(answer.stdout)
    assert report["emulated"] == "dgx-a100"
    assert report["devices"] == [
        {
            "address": 0,
            "uuid": "GPU-fe1e7ec4-7472-4974-8975-000000000000",
            "pci_bus_id": "00000000:07:00.0",
            "product": "NVIDIA A100-SXM4-40GB",
            "memory_mib": 40960,
        }
    ]
    assert "these devices are emulated (TRITIUM_MACHINE=dgx-a100)" in answer.stderr


def test_two_workers_in_one_jvm_get_different_devices(tmp_path: Path) -> None:
    variables = environ(tmp_path, TRITIUM_GPU_AMOUNT="4")
    with FakeJvm(tmp_path) as jvm:
        first, second = jvm.run(variables), jvm.run(variables)

        assert (first.addresses, second.addresses) == (["0", "1", "2", "3"], ["4", "5", "6", "7"])
        assert [claim.owner.pid for claim in claims.live(tmp_path / "state")] == [jvm.pid, jvm.pid]


def test_two_jvms_on_one_host_get_different_devices(tmp_path: Path) -> None:
    variables = environ(tmp_path, TRITIUM_GPU_AMOUNT="4")
    with FakeJvm(tmp_path) as one, FakeJvm(tmp_path) as other:
        assert set(one.run(variables).addresses) | set(other.run(variables).addresses) == set("01234567")


def test_a_worker_that_starts_again_finds_the_devices_of_its_dead_jvm_free(tmp_path: Path) -> None:
    variables = environ(tmp_path, TRITIUM_GPU_AMOUNT="8")
    with FakeJvm(tmp_path) as jvm:
        assert jvm.run(variables).exit_code == 0

    with FakeJvm(tmp_path) as jvm:
        assert jvm.run(variables).exit_code == 0


def test_too_few_devices_say_who_has_the_others(tmp_path: Path) -> None:
    variables = environ(tmp_path, TRITIUM_GPU_AMOUNT="5")
    with FakeJvm(tmp_path) as jvm:
        jvm.run(variables)

        answer = jvm.run(variables)

    assert (answer.exit_code, answer.stdout) == (17, "")
    assert "5 devices wanted, 3 of 8 may be used: devices 0, 1, 2, 3, 4: " in answer.stderr
    assert f"of the JVM with pid {jvm.pid}" in answer.stderr


def test_behind_a_shell_wrapper_the_jvm_is_still_the_owner(tmp_path: Path) -> None:
    wrapper = tmp_path / "wrapper.sh"
    wrapper.write_text(f'#!/bin/sh\nsh -c "{COMMAND}"; true\n', encoding="utf-8")
    wrapper.chmod(0o755)
    with FakeJvm(tmp_path) as jvm:
        jvm.run(environ(tmp_path, TRITIUM_GPU_AMOUNT="2"), [wrapper])

        assert [claim.owner.pid for claim in claims.live(tmp_path / "state")] == [jvm.pid]


def test_without_a_jvm_nothing_is_claimed_and_it_says_so(tmp_path: Path) -> None:
    answer = alone(environ(tmp_path, TRITIUM_GPU_AMOUNT="2"))

    assert answer.addresses == ["0", "1"]
    assert "no JVM above this process, so nothing is claimed" in answer.stderr
    assert claims.live(tmp_path / "state") == ()


def test_the_amount_is_found_on_the_command_line_of_the_jvm(tmp_path: Path) -> None:
    with FakeJvm(
        tmp_path, "-Dspark.worker.resource.gpu.amount=2", "org.apache.spark.deploy.worker.Worker"
    ) as jvm:
        assert jvm.run(environ(tmp_path)).addresses == ["0", "1"]


def test_no_amount_anywhere_is_all_usable_devices_and_it_says_so(tmp_path: Path) -> None:
    with FakeJvm(tmp_path) as jvm:
        answer = jvm.run(environ(tmp_path, "lost-gpu"))

    assert answer.addresses == ["0", "1", "3"]
    assert "neither TRITIUM_GPU_AMOUNT nor Spark says how many" in answer.stderr


@pytest.mark.parametrize(
    ("variables", "exit_code", "words"),
    [
        ({"TRITIUM_GPU_AMOUNT": "many"}, 2, "TRITIUM_GPU_AMOUNT: expected an integer >= 0, got 'many'"),
        ({"TRITIUM_MACHINE": "no-driver"}, 11, "the NVIDIA driver is not loaded"),
        ({"TRITIUM_MACHINE": "nowhere"}, 21, "there is no emulated machine 'nowhere'"),
        ({"CUDA_VISIBLE_DEVICES": ""}, 15, "may see none of the 8 GPUs"),
        ({"CUDA_VISIBLE_DEVICES": "0", "TRITIUM_MACHINE": "mig-1g"}, 19, "name devices by UUID"),
        ({"TRITIUM_GPU_AMOUNT": "9"}, 17, "9 devices wanted, 8 of 8 may be used"),
        ({"TRITIUM_DIR": "/etc/passwd"}, 20, "state directory /etc/passwd"),
    ],
)
def test_each_failure_has_its_exit_code_and_one_sentence(
    variables: dict[str, str], exit_code: int, words: str, tmp_path: Path
) -> None:
    answer = alone(environ(tmp_path) | variables)

    assert (answer.exit_code, answer.stdout) == (exit_code, "")
    sentences = [line for line in answer.stderr.splitlines() if words in line]
    assert len(sentences) == 1
    assert "Traceback" not in answer.stderr


@pytest.mark.nvml
@pytest.mark.parametrize(("init", "exit_code"), [(12, 10), (9, 11), (18, 12), (4, 13), (999, 14)])
def test_each_state_of_a_driver_that_does_not_start_has_its_exit_code(
    init: int, exit_code: int, tmp_path: Path
) -> None:
    from tritium_discovery.machine import load

    answer = alone(dict(environment(load(written(tmp_path, init=init)), tmp_path)))

    assert (answer.exit_code, answer.stdout) == (exit_code, "")


def test_another_package_called_pynvml_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "pynvml.py").write_text("class NVMLError(Exception): pass\n", encoding="utf-8")
    variables = clean_environment(TRITIUM_DIR=str(tmp_path / "state"), PYTHONPATH=str(tmp_path))

    answer = alone(variables)

    assert (answer.exit_code, answer.stdout) == (14, "")
    assert "is not NVIDIA's binding: pip install nvidia-ml-py" in answer.stderr


@pytest.mark.nvml
def test_the_whole_script_works_on_the_c_library(tmp_path: Path) -> None:
    with FakeJvm(tmp_path) as jvm:
        answer = jvm.run({**environment("dgx-16", tmp_path), "TRITIUM_GPU_AMOUNT": "12"})

    # Spark sorts addresses as strings, so they must mean the same in any order: each is an identity.
    assert answer.addresses == [str(number) for number in range(12)]
    assert accept(answer.stdout, exit_code=0, amount=12) == ()


@pytest.mark.nvml
@pytest.mark.parametrize("name", ["mig-1g", "lost-gpu", "two-t4"])
def test_the_c_library_and_the_emulated_probe_make_the_same_report(name: str, tmp_path: Path) -> None:
    emulated = json.loads(alone(environ(tmp_path, name)).stdout)

    real = json.loads(alone(dict(environment(name, tmp_path))).stdout)

    assert emulated.pop("emulated") == name
    assert real == emulated


@pytest.mark.nvml
def test_the_path_without_arguments_loads_no_library_that_it_does_not_need(tmp_path: Path) -> None:
    program = (
        "import sys; from tritium_discovery.script import main; main([]);"
        "print(*sorted({'click', 'yaml', 'pynvml', 'asyncio', 'subprocess', 'hashlib'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment("dgx-a100", tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )

    # pynvml is loaded by the child alone.
    assert done.stdout.splitlines()[1] == ""


def test_a_busy_card_is_given_out_when_we_know_who_computes_on_it(tmp_path: Path) -> None:
    busy = written(tmp_path, cards=1, first={"processes": [4711]})
    variables = environ(tmp_path, busy)
    with FakeJvm(tmp_path) as jvm:
        foreign = jvm.run(variables)
        (device,) = discover(Settings.from_env(variables)).devices
        with holds.take([device.uuid], what="rank 0", directory=tmp_path / "state"):
            known = jvm.run(variables)

    assert foreign.exit_code == 17
    assert "foreign processes compute on it (pid 4711)" in foreign.stderr
    assert known.addresses == ["0"]
