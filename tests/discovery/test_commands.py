"""The commands: golden outputs per machine, and what they say when something is wrong."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from importlib import metadata
from pathlib import Path

import psutil
import pytest

from machines import NAMES, written
from rigs.commands import GOLDEN, compare, plain, run, unnamed
from rigs.jvm import COMMAND, FakeJvm, clean_environment
from rigs.processes import assert_gone, eventually
from tritium_discovery.doctor import _permissions
from tritium_discovery.errors import DiscoveryError

pytestmark = pytest.mark.process

README = Path(__file__).parents[2] / "discovery" / "README.md"

COMMANDS = {
    "script": (),
    "list": ("list",),
    "list-json": ("list", "--output", "json"),
    "explain": ("explain",),
    "explain-json": ("explain", "--output", "json"),
    "topo": ("topo",),
    "topo-json": ("topo", "--output", "json"),
    "env": ("env", "0"),
    "doctor": ("doctor",),
    "doctor-json": ("doctor", "--output", "json"),
    "validate": ("validate", str(COMMAND)),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("machine", NAMES)
def test_each_command_says_of_each_machine_what_it_said(machine: str, command: str, tmp_path: Path) -> None:
    said = plain(run(tmp_path, *COMMANDS[command], machine=machine), tmp_path)

    compare(said, GOLDEN / machine / f"{command}.txt")


@pytest.mark.parametrize("machine", NAMES)
def test_claims_and_resources_say_of_each_machine_what_they_said(machine: str, tmp_path: Path) -> None:
    written = run(tmp_path, "--resources-file", "r.json", machine=machine)
    file = tmp_path / "r.json"
    resources = (
        f"{plain(written, tmp_path)}--- r.json\n{file.read_text(encoding='utf-8') if file.exists() else ''}\n"
    )
    with FakeJvm(tmp_path) as jvm:
        jvm.run(clean_environment(TRITIUM_MACHINE=machine, TRITIUM_DIR=str(tmp_path / "state")))
        claimed = unnamed(plain(run(tmp_path, "claims", machine=machine), tmp_path), str(jvm.pid))

    compare(resources, GOLDEN / machine / "resources-file.txt")
    compare(claimed, GOLDEN / machine / "claims.txt")


@pytest.mark.parametrize(
    "command", [name for name in COMMANDS if name not in {"doctor", "doctor-json", "validate"}]
)
def test_every_output_says_that_devices_are_emulated(command: str, tmp_path: Path) -> None:
    said = run(tmp_path, *COMMANDS[command]).stdout

    assert '"emulated": "two-t4"' in said or said.startswith("# emulated machine two-t4: no real device\n")


def test_env_names_devices_by_uuid_in_the_order_asked_for(tmp_path: Path) -> None:
    said = run(tmp_path, "env", "1", "0").stdout.splitlines()

    assert said[1:] == [
        "CUDA_VISIBLE_DEVICES=GPU-53b4a80a-7472-4974-8975-000000000001,GPU-53b4a80a-7472-4974-8975-000000000000",
        "CUDA_DEVICE_ORDER=PCI_BUS_ID",
    ]


def test_env_warns_of_several_mig_instances_and_refuses_unknown_addresses(tmp_path: Path) -> None:
    assert "one instance at most" in run(tmp_path, "env", "0", "1", machine="mig-1g").stderr
    assert run(tmp_path, "env", "9").exit_code == 23


def test_a_host_of_unlike_cards_is_warned_of_unless_cuda_counts_them_by_bus(tmp_path: Path) -> None:
    mixed = written(tmp_path, first={"product": "Tesla T4"})

    assert (
        "mixes NVIDIA A100-SXM4-40GB and Tesla T4, which CUDA counts by speed"
        in run(tmp_path, machine=mixed).stderr
    )
    assert "mixes" not in run(tmp_path, machine=mixed, CUDA_DEVICE_ORDER="PCI_BUS_ID").stderr


def test_a_resources_file_is_what_spark_reads(tmp_path: Path) -> None:
    said = run(tmp_path, "--resources-file", "r.json", TRITIUM_GPU_AMOUNT="1")

    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8")) == [
        {"id": {"componentName": "spark.worker", "resourceName": "gpu"}, "addresses": ["0"]}
    ]
    assert said.stdout == ""
    assert "names 1 emulated devices of two-t4; nothing is claimed" in said.stderr


def test_a_resources_file_holds_as_many_as_spark_is_configured_for(tmp_path: Path) -> None:
    (tmp_path / "spark-defaults.conf").write_text("spark.executor.resource.gpu.amount 3\n", encoding="utf-8")
    environ = {"SPARK_CONF_DIR": str(tmp_path)}

    for component, count in (("spark.executor", 3), ("spark.worker", 8)):
        arguments = ("--resources-file", "r.json", "--component", component)
        assert run(tmp_path, *arguments, machine="dgx-a100", **environ).exit_code == 0
        (written,) = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
        assert (written["id"]["componentName"], len(written["addresses"])) == (component, count)


@pytest.mark.parametrize(
    ("variables", "exit_code", "words"),
    [
        ({"TRITIUM_MACHINE": "no-driver"}, 11, "bad   driver"),
        ({"TRITIUM_MACHINE": "lost-gpu"}, 17, "bad   device 2"),
        ({"TRITIUM_DIR": "/etc/passwd"}, 20, "bad   state directory"),
        ({"TRITIUM_GPU_AMOUNT": "x"}, 2, "bad  settings"),
        (
            {"SPARK_WORKER_OPTS": "-Dspark.worker.resource.gpu.discoveryScript=/no"},
            2,
            "bad   discovery script",
        ),
        ({"SPARK_WORKER_OPTS": "-Dspark.worker.resource.gpu.amount=x"}, 2, "bad   Spark"),
        ({"TRITIUM_GPU_AMOUNT": "2"}, 0, "2 (TRITIUM_GPU_AMOUNT)"),
        (
            {"SPARK_WORKER_OPTS": "-Dspark.worker.resource.gpu.amount=2"},
            0,
            "2 (spark.worker.resource.gpu.amount in",
        ),
    ],
)
def test_doctor_finds_what_is_wrong_and_where(
    variables: dict[str, str], exit_code: int, words: str, tmp_path: Path
) -> None:
    answer = run(tmp_path, "doctor", **{"machine": variables.pop("TRITIUM_MACHINE", "two-t4"), **variables})

    assert answer.exit_code == exit_code
    assert words in answer.stdout


@pytest.mark.parametrize(
    ("nodes", "state", "words"),
    [
        ([], "note", "there is no DEV/nvidia0: no driver, or this container was given no GPU"),
        (["nvidiactl"], "note", "there is no DEV/nvidia0: no driver, or this container was given no GPU"),
        (["nvidia3", "nvidiactl"], "ok", "2 may be opened"),
    ],
)
def test_doctor_looks_for_the_nodes_of_cards(
    nodes: list[str], state: str, words: str, tmp_path: Path
) -> None:
    for node in nodes:
        (tmp_path / node).touch()

    found = _permissions(tmp_path)

    assert (found.state, found.sentence.replace(str(tmp_path), "DEV")) == (state, words)


def test_doctor_names_the_card_that_is_ill_and_what_is_set(tmp_path: Path) -> None:
    said = run(
        tmp_path, "doctor", machine="ill-cards", TRITIUM_DENY="GPU-gone", CUDA_VISIBLE_DEVICES="0,1"
    ).stdout

    assert (
        "reset it (NVIDIA A100-SXM4-80GB GPU-a449093c-7472-4974-8975-000000000001 on 00000000:0F:00.0)"
        in said
    )
    assert "TRITIUM_DENY=GPU-gone, CUDA_VISIBLE_DEVICES=0,1" in said
    assert "note  settings          TRITIUM_DENY: GPU-gone names no device that is seen here" in said


def test_whoever_gives_out_devices_is_told_of_words_that_name_none(tmp_path: Path) -> None:
    for arguments in ((), ("explain",)):
        said = run(tmp_path, *arguments, TRITIUM_DENY="GPU-gone").stderr

        assert "gpu-discover: TRITIUM_DENY: GPU-gone names no device that is seen here\n" in said


def test_env_warns_of_an_ill_device(tmp_path: Path) -> None:
    said = run(tmp_path, "env", "0", "1", machine="ill-cards").stderr

    assert said == (
        "gpu-discover: device 1 (GPU-a449093c-7472-4974-8975-000000000001): "
        "3 uncorrected ECC errors since the last reset, 0 allowed: reset it\n"
    )


def test_help_and_version_say_what_support_asks_for(tmp_path: Path) -> None:
    said = run(tmp_path, "--help").stdout

    assert "TRITIUM_GPU_AMOUNT" in said
    assert "..." not in said.partition("Commands:")[2]  # no command's line is cut
    assert run(tmp_path, "--version").stdout == f"gpu-discover {metadata.version('tritium')}\n"


def test_a_command_that_fails_says_one_sentence_and_no_traceback(tmp_path: Path) -> None:
    answer = run(tmp_path, "list", machine="no-driver")

    assert (answer.exit_code, answer.stdout) == (11, "")
    assert answer.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["list", "--nonsense"],
        ["env"],
        ["env", "x"],
        ["env", "0", "0"],  # CUDA_VISIBLE_DEVICES with a device twice shows none
        ["--component", "spark.worker"],
        ["--resources-file", "r.json", "list"],
    ],
)
def test_bad_usage_is_exit_code_2(arguments: list[str], tmp_path: Path) -> None:
    assert run(tmp_path, *arguments).exit_code == 2


def test_the_readme_names_every_command_and_every_exit_code() -> None:
    text = README.read_text(encoding="utf-8")
    codes = {kind.exit_code for kind in DiscoveryError.__subclasses__()}

    rows = re.findall(r"^\| ([0-9, ]+) \|", text, flags=re.MULTILINE)
    assert {int(code) for row in rows for code in row.split(",")} == codes | {0, 130}
    assert len(codes) == len(DiscoveryError.__subclasses__())
    for command in ("list", "explain", "claims", "topo", "env", "validate", "doctor"):
        assert f"| `{command}" in text


def test_a_busy_card_is_explained(tmp_path: Path) -> None:
    busy = written(tmp_path, first={"processes": [4711]})

    assert "foreign processes compute on it (pid 4711)" in run(tmp_path, "explain", machine=busy).stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_an_answer_that_cannot_be_written_is_said_in_one_sentence(command: str, tmp_path: Path) -> None:
    environ = clean_environment(TRITIUM_MACHINE="two-t4", TRITIUM_DIR=str(tmp_path / "state"))

    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [COMMAND, *COMMANDS[command]],
            env=environ,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert done.returncode == 25
    assert (
        done.stderr.splitlines()[-1] == "gpu-discover: the answer cannot be written: No space left on device"
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize(
    ("path", "why"), [("no/r.json", "No such file or directory"), (".", "Is a directory")]
)
def test_a_resources_file_that_cannot_be_written_is_said_and_leaves_nothing(
    path: str, why: str, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    answer = run(tmp_path, "--resources-file", str(folder / path))

    assert (answer.exit_code, answer.stdout) == (25, "")
    assert answer.stderr.endswith(f"cannot be written: {why}\n")
    assert list(tmp_path.rglob("draft-*")) == []


@pytest.mark.parametrize("arguments", [(), ("doctor",), ("list",)])
def test_a_working_directory_that_is_gone_is_no_matter(arguments: tuple[str, ...], tmp_path: Path) -> None:
    program = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'
    environ = clean_environment(TRITIUM_MACHINE="two-t4", TRITIUM_DIR=str(tmp_path / "state"))

    subprocess.run(["sh", "-c", program, "sh", COMMAND, *arguments], env=environ, cwd=tmp_path, check=True)


@pytest.mark.parametrize(("arguments", "after_s"), [((), 0.0), ((), 0.5), (("list",), 0.5)])
def test_an_interrupt_ends_it_at_once_and_quietly_and_its_child_too(
    arguments: tuple[str, ...], after_s: float, tmp_path: Path
) -> None:
    machine = written(tmp_path, hang=["nvmlInit"])
    environ = clean_environment(
        TRITIUM_MACHINE=machine, TRITIUM_DIR=str(tmp_path / "state"), TRITIUM_TIMEOUT_S="50"
    )

    with subprocess.Popen([COMMAND, *arguments], env=environ, stderr=subprocess.PIPE, text=True) as process:
        eventually(lambda: bool(psutil.Process(process.pid).children()))
        time.sleep(after_s)  # until it loads the rest, or waits
        children = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)

    assert process.returncode == 130
    assert "Traceback" not in said
    assert len(children) == 1
    assert_gone(children, within_s=10)
