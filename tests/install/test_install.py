"""``pip install .`` in a plain virtual environment: small, complete, and usable without Spark."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.install

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    plain = {name: os.environ[name] for name in os.environ if not name.startswith(("PYTHON", "TRITIUM_"))}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**plain, **environment}, timeout=240
    )


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    made = run(sys.executable, "-m", "venv", folder)
    assert made.returncode == 0, made.stderr
    installed = run(folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", ROOT)
    assert installed.returncode == 0, installed.stderr
    return folder


def test_the_base_install_is_three_packages(environment: Path) -> None:
    listed = run(environment / "bin/pip", "list", "--format", "json", "--disable-pip-version-check")

    names = {package["name"].lower() for package in json.loads(listed.stdout)}
    assert names - {"pip", "setuptools", "wheel"} == {"tritium", "nvidia-ml-py", "click", "pyyaml"}


def test_gpu_discover_works_from_the_base_install(environment: Path, tmp_path: Path) -> None:
    found = run(
        environment / "bin/gpu-discover",
        TRITIUM_MACHINE="two-t4",
        TRITIUM_GPU_AMOUNT="2",
        TRITIUM_DIR=str(tmp_path / "state"),
    )

    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["addresses"] == ["0", "1"]


def test_tritium_says_what_the_base_install_lacks(environment: Path, tmp_path: Path) -> None:
    assert run(environment / "bin/tritium", "--version").returncode == 0

    refused = run(environment / "bin/tritium", "demo", tmp_path / "demo")

    assert refused.returncode not in (0, 1)
    assert "Traceback" not in refused.stderr
    assert "pip install '.[demo]'" in refused.stderr


def test_the_wheel_ships_what_is_not_code(environment: Path) -> None:
    (site,) = (environment / "lib").glob("python*/site-packages")

    assert (site / "tritium_discovery/machines/dgx-a100.yaml").is_file()
    assert (site / "tritium_discovery/py.typed").is_file()
    assert (site / "tritium/py.typed").is_file()
    assert (site / "tritium/demo/pipeline.yaml").is_file()
