"""Containers on one host: each executor has a state directory of its own, and calls its only card ``0``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import tritium
from rigs.application import Application
from rigs.standalone import Standalone
from tritium.spark.conf import Wish, decide

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]

DRIVER = Path(__file__).with_name("contained_gang.py")


def test_executors_whose_cards_are_all_called_0_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    with Standalone(tmp_path / "logs") as cluster:
        where: dict[str, Any] = {"master": cluster.url, "python": sys.executable}
        wish = Wish(cluster="standalone", cores=2, gpus=1, memory_mib=700, **where)
        settings = {one.key: one.value for one in decide(wish) if one.reader == "worker"}
        for number in range(2):
            environ = container(tmp_path / f"container-{number}", number)
            worker = cluster.worker(f"worker-{number}", conf=settings, environ=environ, cores=2)
            worker.said("Successfully registered")
        conf = tritium.conf("standalone", cores=2, gpus=1, memory_mib=700, **where)
        environ = container(tmp_path / "driver", 9)

        with Application(DRIVER, json.dumps(conf), environment=environ) as driver:
            gang, inference = driver.says("gang", limit_s=400), driver.says("inference", limit_s=400)
            driver.says("stopped")

    assert [visible for visible, _ in gang] == [[uuid] for _, (uuid,) in gang], "each rank sees its own card"
    assert sorted(len(uuids) for _, uuids in gang) == [1, 1]
    cards = {uuid for _, uuids in gang for uuid in uuids}
    assert len(cards) == 2, "two cards, though Spark calls both of them 0"
    assert set(inference) == cards


def container(folder: Path, number: int) -> dict[str, str]:
    """Make the environment of one: its own state, and a machine with one card that no other has."""
    (folder / "state").mkdir(parents=True, mode=0o700)
    machine = folder / f"machine-{number}.yaml"
    machine.write_text(
        f"about: What container {number} sees\n"
        'card: {product: NVIDIA L4, memory_mib: 23034, capability: "8.9"}\n'
        f'cards:\n  - {{bus: "00000000:{number + 1:02x}:00.0", numa: 0, pcie: n0/h0}}\n'
    )
    return {
        "TRITIUM_DIR": str(folder / "state"),
        "TRITIUM_MACHINE": str(machine),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
    }
