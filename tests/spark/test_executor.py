"""A task finds out what its executor was given, from what Spark leaves around the Python worker."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tritium.spark.environment import changed
from tritium.spark.inventory import _granted, task_view
from tritium_discovery import BadState, claims, holds
from tritium_discovery.process import process_id


def test_the_workers_file_lists_the_executors_addresses(tmp_path: Path) -> None:
    entry = {"id": {"componentName": "spark.executor", "resourceName": "gpu"}, "addresses": ["0", "10"]}
    other = {"id": {"componentName": "spark.executor", "resourceName": "fpga"}, "addresses": ["a"]}
    file = tmp_path / "resource-executor-1.json"

    file.write_text(json.dumps([other, entry]), encoding="utf-8")
    assert _granted(file) == ("0", "10")

    file.write_text(json.dumps([other]), encoding="utf-8")
    assert _granted(file) is None


@pytest.mark.parametrize("text", ["", "[", "3", "[{}]"])
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "resource-executor-1.json"
    file.write_text(text, encoding="utf-8")

    with pytest.raises(BadState, match=r"resource-executor-1.json, which lists this executor's resources"):
        _granted(file)


def test_without_spark_around_it_a_process_sees_all_that_nobody_claims(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    environ = {"TRITIUM_MACHINE": "dgx-a100", "TRITIUM_DIR": str(tmp_path)}
    everything = task_view(None, environ=environ)
    with subprocess.Popen(["sleep", "60"]) as another:
        owner = process_id(another.pid)
        assert owner is not None
        claims.make(
            lambda _: everything.inventory.devices[:3], owner=owner, generation="", directory=tmp_path
        )
        with holds.take(everything.pool[6:7], what="somebody", directory=tmp_path):
            view = task_view(None, environ=environ)
        another.kill()

    assert len(everything.pool) == 8
    assert view.pool == everything.pool[3:]
    assert {uuid: holds.described(having) for uuid, having in view.held.items()} == {
        everything.pool[6]: f"somebody (pid {os.getpid()})"
    }
    assert view.count is None
    assert view.directory == tmp_path


def test_variables_are_changed_for_a_block_even_if_it_raises() -> None:
    before = dict(os.environ)

    def fail() -> None:
        with changed({"HOME": "/elsewhere", "TRITIUM_NEW": "1"}):
            assert (os.environ["HOME"], os.environ["TRITIUM_NEW"]) == ("/elsewhere", "1")
            raise KeyError

    with pytest.raises(KeyError):
        fail()

    assert dict(os.environ) == before
