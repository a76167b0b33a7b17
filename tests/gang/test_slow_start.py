"""An executor whose fork server still loads frameworks when its first gang comes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pyspark import cloudpickle

import tritium
from rigs.cluster import cluster

pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def test_a_task_that_waits_for_the_fork_server_is_not_taken_for_silent(tmp_path: Path) -> None:
    (tmp_path / "slow_module.py").write_text("import time\ntime.sleep(10)\n")
    conf = {
        "spark.executorEnv.PYTHONPATH": str(tmp_path),
        "spark.executorEnv.TRITIUM_PREIMPORT": "slow_module",
    }

    with cluster(workers=1, conf=conf):
        result = tritium.Gang(ranks=1, silence_timeout_s=2).run(loaded)

    assert result.values == (True,), "it was forked from the server, which took longer than the limit"


def loaded() -> bool:
    return "slow_module" in sys.modules
