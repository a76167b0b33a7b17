"""A test that hangs ends at its limit, and so does what tidies up after it; the next one runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import rigs

pytestmark = pytest.mark.process

_LIMIT_S = 200.0
_DEAF = """
import time
import pytest

@pytest.fixture
def rig():
    yield
    time.sleep(600)

def test_hangs(rig):
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        time.sleep(600)

def test_next():
    pass
"""
_SPARK = """
import time
import pytest
from rigs.cluster import local

@pytest.fixture(scope="module")
def spark():
    with local(2, machine="dgx-a100") as session:
        yield session

def test_starts(spark):
    pass

@pytest.mark.timeout(2)
def test_hangs(spark):
    spark.sparkContext.parallelize([600], 1).map(time.sleep).collect()

def test_next(spark):
    assert spark.range(3).count() == 3
"""


def test_a_test_that_swallows_the_interrupt_is_interrupted_again_and_in_what_it_tears_down(
    tmp_path: Path,
) -> None:
    told = run_pytest(_DEAF, tmp_path, "--timeout=1")

    assert told[-1].startswith("1 failed, 1 passed, 1 error in "), told
    assert sum("::test_hangs - Failed: took longer than 1 s: " in line for line in told) == 2


@pytest.mark.spark
def test_a_test_that_hangs_in_a_call_of_spark_leaves_a_session_that_works(tmp_path: Path) -> None:
    told = run_pytest(_SPARK, tmp_path, "--timeout=150")

    assert told[-1].startswith("1 failed, 2 passed in "), told
    assert any("in recv_into" in line or "in readinto" in line for line in told), "where it hung"


def run_pytest(tests: str, folder: Path, *options: str) -> list[str]:
    """Run tests with the plugin alone; returns the lines of the report."""
    (folder / "test_it.py").write_text(tests)
    path = [str(Path(next(iter(rigs.__path__))).parent), *sys.path]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rfE", "-p", "rigs.limit", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
        timeout=_LIMIT_S,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout.splitlines()
