"""What ``tritium conf`` prints makes real Spark schedule exact devices, and throttles no other stage."""

from __future__ import annotations

import json
import site
import subprocess
import sys
from pathlib import Path

import pytest

import tritium
from rigs.application import Application
from rigs.standalone import Standalone, spark_home
from tritium.spark.conf import Wish, decide

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]

DRIVER = Path(__file__).with_name("conf_driver.py")
BESIDE = Path(sys.executable).parent
CORES = 2
QUIET = {"spark.ui.enabled": "false", "spark.test.tasks": str(2 * CORES)}


def environment(folder: Path) -> dict[str, str]:
    (folder / "state").mkdir(mode=0o700)
    (folder / "met").mkdir()
    return {
        "TRITIUM_DIR": str(folder / "state"),
        "TRITIUM_MACHINE": "dgx-a100",
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
        "TEST_TASKS": str(2 * CORES),
    }


def assert_it_works(application: Application) -> None:
    assert application.says("stage", limit_s=400) == [2 * CORES] * 2 * CORES, (
        "all cores work where no device is asked for"
    )
    gang = application.says("gang")
    assert len({uuid for uuid, _ in gang}) == 2
    inference = application.says("inference")
    assert inference
    assert all(uuid.startswith("GPU-") for uuid in inference)
    application.says("stopped")


def test_the_printed_file_starts_a_local_cluster(tmp_path: Path) -> None:
    words = ["--cores", str(CORES), "--gpus", "4", "--memory-mib", "700", "--python", sys.executable]
    printed = subprocess.run(
        [BESIDE / "tritium", "conf", "local", "--explain", *words], capture_output=True, text=True, check=True
    ).stdout
    more = {**QUIET, "spark.test.folder": str(tmp_path / "met")}
    file = tmp_path / "spark.conf"
    file.write_text(printed + "".join(f"{key} {value}\n" for key, value in more.items()))
    submit = tmp_path / "submit.py"
    words = [str(spark_home() / "bin" / "spark-submit"), "--properties-file", str(file), str(DRIVER)]
    submit.write_text(f"import os\nos.execv({words[0]!r}, {words!r})\n")

    with Application(submit, environment=environment(tmp_path)) as application:
        assert_it_works(application)


def test_the_map_and_the_workers_file_start_on_a_standalone_cluster(tmp_path: Path) -> None:
    environ = environment(tmp_path)
    (tmp_path / "logs").mkdir()
    with Standalone(tmp_path / "logs") as cluster:
        wish = Wish(
            cluster="standalone",
            cores=CORES,
            gpus=4,
            memory_mib=700,
            master=cluster.url,
            python=sys.executable,
        )
        workers = {one.key: one.value for one in decide(wish) if one.reader == "worker"}
        for name in ("worker-0", "worker-1"):
            cluster.worker(name, conf=workers, environ=environ, cores=CORES).said("Successfully registered")
        application = tritium.conf(
            "standalone", cores=CORES, gpus=4, memory_mib=700, master=cluster.url, python=sys.executable
        )
        conf = {**application, **QUIET, "spark.test.folder": str(tmp_path / "met")}

        with Application(DRIVER, json.dumps(conf), environment=environ) as driver:
            assert_it_works(driver)


@pytest.mark.parametrize("module", ["tritium.train.daemon", "pyspark.daemon"])
def test_executors_without_tritium_are_one_sentence(tmp_path: Path, module: str) -> None:
    """Their Python has everything else: it does not read the file that makes Tritium importable."""
    packages = site.getsitepackages()[0]
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{packages}" exec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    conf = tritium.conf(
        "local", cores=CORES, gpus=4, memory_mib=700, discovery_script=str(BESIDE / "gpu-discover")
    )
    conf |= {**QUIET, "spark.python.daemon.module": module}
    environ = {**environment(tmp_path), "PYSPARK_PYTHON": str(python), "TEST_TASKS": "0"}

    with Application(DRIVER, json.dumps(conf), environment=environ) as driver:
        kind, sentence = driver.says("failed", limit_s=400)
        driver.says("stopped")

    assert kind == "CodeMissing"
    assert "failed: the executors' Python has no Tritium: install the same one" in sentence
