"""``gpu-discover claims``: who claims and who holds which device, and how a claim is dropped."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from rigs.commands import GOLDEN, compare, plain, run, unnamed
from rigs.jvm import Answer, FakeJvm, clean_environment
from tritium_discovery import Settings, Uuid, discover, holds

pytestmark = pytest.mark.process


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
    assert re.fullmatch(rf"claimed by claim \w+ of the JVM with pid {jvm.pid}", said[0]["reasons"][0])
