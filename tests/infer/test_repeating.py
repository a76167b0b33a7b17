"""A task that runs twice, after a failure or by speculation, holds no second device and writes only once."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import tritium
from rigs.application import Application
from rigs.processes import eventually
from rigs.standalone import Standalone
from tritium.spark.conf import Wish, decide
from tritium_discovery import holds

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]

DRIVER = Path(__file__).with_name("repeating.py")
EAGER = {
    "spark.speculation": "true",
    "spark.speculation.interval": "100ms",
    "spark.speculation.multiplier": "1.5",
    "spark.speculation.quantile": "0.5",
    "spark.ui.enabled": "false",
}
LIMIT_S = 600.0


def test_speculation_and_retries_find_the_model_that_is_there_and_rows_are_written_once(
    tmp_path: Path,
) -> None:
    state, out = tmp_path / "state", tmp_path / "out"
    state.mkdir(mode=0o700)
    out.mkdir()
    environ = {
        "TRITIUM_MACHINE": "two-t4",
        "TRITIUM_DIR": str(state),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
    }
    with Standalone(tmp_path) as cluster:
        wish = Wish(
            cluster="standalone", cores=2, gpus=1, memory_mib=700, master=cluster.url, python=sys.executable
        )
        workers = {one.key: one.value for one in decide(wish) if one.reader == "worker"}
        # Spark speculates on another host only.
        for name, host in (("worker-0", "127.0.0.1"), ("worker-1", "127.0.0.2")):
            worker = cluster.worker(name, conf=workers, environ=environ, cores=2, host=host)
            worker.said("Successfully registered")
        conf = tritium.conf(
            "standalone", cores=2, gpus=1, memory_mib=700, master=cluster.url, python=sys.executable
        )
        with Application(DRIVER, json.dumps({**conf, **EAGER}), str(out), environment=environ) as driver:
            found = driver.says("found", limit_s=LIMIT_S)

    assert found == {how: [2.0 * n for n in range(200)] for how in ("slow", "fails")}
    for how in ("slow", "fails"):
        assert (out / f"{how} stumbled").exists(), how
        assert {(out / f"{how} 1 {attempt}").exists() for attempt in (0, 1)} == {True}, how
    loads = [path.name.split()[1] for path in out.glob("load *")]
    assert len(loads) == len(set(loads)) == 2, "both devices have loaded the model once, for all attempts"
    eventually(lambda: not holds.held(state), limit_s=60)
