"""The commands: golden outputs per machine, and what they say when something is wrong.

Accept new outputs with ``TRITIUM_ACCEPT=1 pytest tests/discovery/test_commands.py`` and read the diff.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from machines import NAMES, written
from rigs.jvm import COMMAND, Answer, FakeJvm, clean_environment
from rigs.processes import eventually
from tritium_discovery import Settings, Uuid, discover, holds
from tritium_discovery.errors import DiscoveryError

pytestmark = pytest.mark.process

GOLDEN = Path(__file__).with_name("golden")
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


def run(directory: Path, *arguments: str, machine: str = "two-t4", **variables: str) -> Answer:
    done = subprocess.run(
        [COMMAND, *arguments],
        env=clean_environment(
            **{"TRITIUM_DIR": str(directory / "state"), **variables}, TRITIUM_MACHINE=machine
        ),
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
    )
    return Answer(exit_code=done.returncode, stdout=done.stdout, stderr=done.stderr)


def plain(answer: Answer, directory: Path) -> str:
    """The whole answer without what differs between hosts."""
    text = f"{answer.stdout}--- stderr\n{answer.stderr}--- exit code {answer.exit_code}\n"
    text = text.replace(str(directory), "DIR").replace(f"user {os.getuid()} ", "user UID ")
    text = re.sub(re.escape(socket.gethostname()) + "/[0-9a-f]{8}", "HOST", text)
    return text.replace(str(COMMAND), "SCRIPT")


def compare(said: str, file: Path) -> None:
    if os.environ.get("TRITIUM_ACCEPT"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(said, encoding="utf-8")
    assert said == file.read_text(encoding="utf-8")


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


def test_claims_shows_who_claims_and_who_holds(tmp_path: Path) -> None:
    with FakeJvm(tmp_path) as jvm:
        environ = clean_environment(TRITIUM_MACHINE="two-t4", TRITIUM_DIR=str(tmp_path / "state"))
        jvm.run(environ | {"TRITIUM_GPU_AMOUNT": "1"})
        devices = discover(Settings(machine="two-t4", directory=tmp_path / "state")).devices
        uuids = [device.uuid for device in devices]
        with holds.take(uuids, what="rank 0 of gang 7c1e", directory=tmp_path / "state"):
            said = json.loads(run(tmp_path, "claims", "--output", "json").stdout)
            lines = run(tmp_path, "claims").stdout.splitlines()

    assert [row["uuid"] for row in said] == uuids
    assert said[0]["claimed_by"].startswith(f"JVM {jvm.pid} (")
    assert said[1]["claimed_by"] is None
    assert [row["emulated"] for row in said] == ["two-t4", None]
    assert all(f"rank 0 of gang 7c1e (pid {os.getpid()})" in row["held_by"] for row in said)
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT[0-9:]+\+00:00", row["held_since"]) for row in said)
    assert len(lines) == 3


@pytest.mark.parametrize("since", [1e300, float("nan"), -1e15])
def test_claims_bears_whatever_a_holder_wrote_of_itself(since: float, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    note = {"pid": 1, "user": "\x1b[31mme", "what": "clear\x1b[2J\nGPU-2", "since": since}
    with holds.take([Uuid("GPU-1")], what="", directory=state) as hold:
        os.pwrite(hold.filenos[0], json.dumps(note).encode().ljust(4096), 0)

        said = run(tmp_path, "claims")

    assert said.exit_code == 0
    assert "  ?[31mme: clear?[2J?GPU-2 (pid 1)  " in said.stdout.splitlines()[1]


@pytest.mark.parametrize("output", ["table", "json"])
def test_claims_says_of_a_host_what_it_said(output: str, tmp_path: Path) -> None:
    state = tmp_path / "state"
    arguments = ("claims", "--output", output)
    nobody = run(tmp_path, *arguments)
    with FakeJvm(tmp_path) as jvm:
        environ = clean_environment(TRITIUM_MACHINE="dgx-a100", TRITIUM_DIR=str(state))
        jvm.run(environ | {"TRITIUM_GPU_AMOUNT": "2"})
        uuids = [device.uuid for device in discover(Settings(machine="dgx-a100", directory=state)).devices]
        with holds.take((uuids[1], uuids[7]), what="rank 0 of gang 7c1e", directory=state):
            busy = run(tmp_path, *arguments)
        owner = str(jvm.pid)

    compare(plain(nobody, tmp_path), GOLDEN / "claims" / f"nobody-{output}.txt")
    compare(unnamed(plain(busy, tmp_path), owner), GOLDEN / "claims" / f"claimed-and-held-{output}.txt")


def unnamed(text: str, owner: str) -> str:
    """A text without the pids, the user, the times and the claim's id; they set the columns' widths too."""
    text = re.sub(rf"JVM {owner} \([0-9a-f]{{16}}\)", "JVM PID (CLAIM)", text)
    text = text.replace(f"(pid {os.getpid()})", "(pid PID)").replace(f"{getpass.getuser()}: ", "USER: ")
    text = re.sub(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", "WHEN", text)
    return re.sub(r"(?<=\S) {2,}", "  ", text)


def test_a_claim_is_released_by_its_id_and_no_other(tmp_path: Path) -> None:
    with FakeJvm(tmp_path) as jvm:
        jvm.run(clean_environment(TRITIUM_MACHINE="two-t4", TRITIUM_DIR=str(tmp_path / "state")))
        claimed_by = json.loads(run(tmp_path, "claims", "--output", "json").stdout)[0]["claimed_by"]
        name = claimed_by.partition("(")[2].rstrip(")")

        wrong = run(tmp_path, "claims", "--release", "nonsense")
        right = run(tmp_path, "claims", "--release", name)

        left = json.loads(run(tmp_path, "claims", "--output", "json").stdout)
    assert (wrong.exit_code, right) == (20, Answer(exit_code=0, stdout="", stderr=""))
    assert wrong.stderr.startswith("gpu-discover: there is no live claim nonsense in ")
    assert left == []


def test_explain_knows_claims(tmp_path: Path) -> None:
    with FakeJvm(tmp_path) as jvm:
        environ = clean_environment(TRITIUM_MACHINE="two-t4", TRITIUM_DIR=str(tmp_path / "state"))
        jvm.run(environ | {"TRITIUM_GPU_AMOUNT": "1"})

        said = json.loads(run(tmp_path, "explain", "--output", "json").stdout)["devices"]

    assert [device["kept"] for device in said] == [False, True]
    assert re.fullmatch(rf"it is claimed by claim \w+ of the JVM with pid {jvm.pid}", said[0]["reasons"][0])


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


def script(directory: Path, text: str) -> str:
    path = directory / "script.sh"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return str(path)


VALIDATED = {
    "good": """echo '{"name": "gpu", "addresses": ["0"]}'""",
    "stock-without-driver": """echo '{"name": "gpu", "addresses":[""]}'""",
    "uuids": """echo '{"name": "gpu", "addresses": ["GPU-1"]}'""",
    "twice": """echo '{"name": "gpu", "addresses": ["0", "0"]}'""",
    "too-few": """echo '{"name": "gpu", "addresses": []}'""",
    "another-resource": """echo '{"name": "fpga", "addresses": ["0"]}'""",
    "warning-first": """echo warning; echo '{"name": "gpu", "addresses": ["0"]}'""",
    "fails": "exit 3",
    "hangs": "exec sleep 60",
}


@pytest.mark.parametrize("name", VALIDATED)
def test_validate_says_of_each_kind_of_script_what_it_said(name: str, tmp_path: Path) -> None:
    path = script(tmp_path, f"#!/bin/sh\n{VALIDATED[name]}\n")

    answer = run(tmp_path, "validate", path, TRITIUM_TIMEOUT_S="0.5" if name == "hangs" else "30")

    compare(plain(answer, tmp_path), GOLDEN / "validate" / f"{name}.txt")


def test_validate_finds_what_sparks_own_script_does_without_a_driver(tmp_path: Path) -> None:
    stock = script(tmp_path, """#!/bin/sh\necho '{"name": "gpu", "addresses":[""]}'\n""")

    answer = run(tmp_path, "validate", stock)

    assert answer.exit_code == 0
    assert answer.stdout.startswith("taken, but: '' is no plain number")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("#!/bin/sh\nexit 3\n", "refused: it exited with code 3"),
        ("#!/bin/sh\nsleep 60\n", "refused: no answer within 0.5 s: Spark would wait for ever"),
        ("#!/no/such/shell\n", "cannot be started: No such file or directory"),
        ("#!/bin/sh\necho hello\n", "refused: there is no JSON at the beginning of the output"),
    ],
)
def test_validate_refuses_what_spark_refuses(text: str, sentence: str, tmp_path: Path) -> None:
    answer = run(tmp_path, "validate", script(tmp_path, text), TRITIUM_TIMEOUT_S="0.5")

    assert answer.exit_code == 24
    assert sentence in answer.stdout


def test_validate_lets_the_script_say_why_and_leaves_nothing_of_it_running(tmp_path: Path) -> None:
    text = f"#!/bin/sh\necho no card here >&2\nsleep 60 &\necho $! > {tmp_path}/pid\nsleep 60\n"

    answer = run(tmp_path, "validate", script(tmp_path, text), TRITIUM_TIMEOUT_S="2")

    assert answer.exit_code == 24
    assert answer.stderr.startswith("no card here\n")
    left = int((tmp_path / "pid").read_text(encoding="ascii"))
    eventually(lambda: not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE)


def test_a_resources_file_holds_as_many_as_spark_is_configured_for(tmp_path: Path) -> None:
    (tmp_path / "spark-defaults.conf").write_text("spark.executor.resource.gpu.amount 3\n", encoding="utf-8")
    environ = {"SPARK_CONF_DIR": str(tmp_path)}

    for component, count in (("spark.executor", 3), ("spark.worker", 8)):
        arguments = ("--resources-file", "r.json", "--component", component)
        assert run(tmp_path, *arguments, machine="dgx-a100", **environ).exit_code == 0
        (written,) = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
        assert (written["id"]["componentName"], len(written["addresses"])) == (component, count)


def test_validate_refuses_a_path_with_options(tmp_path: Path) -> None:
    answer = run(tmp_path, "validate", f"{COMMAND} --verbose")

    assert answer.exit_code == 24
    assert "does not exist; Spark takes a path without options" in answer.stdout


def test_validate_accepts_this_script(tmp_path: Path) -> None:
    assert run(tmp_path, "validate", str(COMMAND), "--amount", "2").stdout == "accepted\n"


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


@pytest.mark.parametrize("arguments", [(), ("list",)])
def test_an_interrupt_ends_it_at_once_and_quietly(arguments: tuple[str, ...], tmp_path: Path) -> None:
    machine = written(tmp_path, hang=["nvmlInit"])
    environ = clean_environment(
        TRITIUM_MACHINE=machine, TRITIUM_DIR=str(tmp_path / "state"), TRITIUM_TIMEOUT_S="50"
    )

    with subprocess.Popen([COMMAND, *arguments], env=environ, stderr=subprocess.PIPE, text=True) as process:
        eventually(lambda: bool(psutil.Process(process.pid).children()))
        time.sleep(0.5)  # until it waits
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)

    assert process.returncode == 130
    assert "Traceback" not in said
