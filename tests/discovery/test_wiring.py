"""The remembered wiring, through the real reading code: asked for once per boot, driver and set of cards."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from machines import made
from rigs.jvm import COMMAND
from rigs.nvml.rig import environment

pytestmark = pytest.mark.nvml

SLOW = ["nvmlDeviceGetTopologyCommonAncestor", "nvmlDeviceGetP2PStatus", "nvmlDeviceGetNvLinkState"]


def lanes(directory: Path, count: int, **rest: Any) -> int:
    """NVLinks that a real discovery reports between two cards that have ``count`` of them now."""
    model = made(nvlinks=[[0, 1, count]], **rest)
    done = subprocess.run(
        [COMMAND, "topo", "--output", "json"],
        env={**environment(model, directory), "TRITIUM_TIMEOUT_S": "5"},
        check=True,
        capture_output=True,
        timeout=60,
    )
    return int(json.loads(done.stdout)["links"][0]["lanes"])


def test_a_second_discovery_asks_the_driver_nothing_about_the_wiring(tmp_path: Path) -> None:
    assert lanes(tmp_path, 4) == 4

    assert lanes(tmp_path, 2, hang=SLOW) == 4


def test_without_a_memory_those_calls_are_made(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        lanes(tmp_path, 2, hang=SLOW)

    assert caught.value.returncode == 18


def test_another_driver_is_asked_anew(tmp_path: Path) -> None:
    assert lanes(tmp_path, 4) == 4

    assert lanes(tmp_path, 2, driver="560.28.03") == 2
    assert lanes(tmp_path, 3, driver="560.28.03", hang=SLOW) == 2


def test_another_set_of_cards_is_asked_anew(tmp_path: Path) -> None:
    assert lanes(tmp_path, 4) == 4

    assert lanes(tmp_path, 2, first={"bus": "00000000:0F:00.0"}) == 2


def test_after_another_boot_the_driver_is_asked_anew(tmp_path: Path) -> None:
    assert lanes(tmp_path, 4) == 4
    memory = next((tmp_path / "state").glob("wiring-*"))
    data = json.loads(memory.read_text(encoding="utf-8"))

    memory.write_text(json.dumps({**data, "boot_id": "an older boot"}), encoding="utf-8")

    assert lanes(tmp_path, 2) == 2
