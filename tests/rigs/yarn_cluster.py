"""Run by `rigs.yarn` with a cache and a folder: Hadoop's own mini cluster, until the end of stdin.

Its ResourceManager and NodeManager are the real ones in one JVM; the NodeManager starts real containers.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pyspark.find_spark_home import _find_spark_home
from pyspark.java_gateway import launch_gateway

_SETTINGS = {
    "yarn.nodemanager.resource.memory-mb": "4096",
    "yarn.nodemanager.resource.cpu-vcores": "16",
    "yarn.nodemanager.vmem-check-enabled": "false",
    "yarn.nodemanager.pmem-check-enabled": "false",
    "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": "100",
    "yarn.scheduler.minimum-allocation-mb": "256",
    "yarn.scheduler.capacity.root.queues": "default",
    "yarn.scheduler.capacity.root.default.capacity": "100",
    "yarn.scheduler.capacity.maximum-am-resource-percent": "1.0",
}
_PACKAGES = (
    "org.apache.hadoop:hadoop-client-minicluster:{hadoop},"
    "org.junit.jupiter:junit-jupiter-api:5.10.2,org.bouncycastle:bcpkix-jdk18on:1.78.1"
)
_ALREADY_SPARKS = "org.apache.hadoop:hadoop-client-api,org.apache.hadoop:hadoop-client-runtime"
_NODE_LIMIT_MS = 120_000


def main(cache: Path, folder: Path) -> None:
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"--driver-class-path {_jars(cache, folder)}/* pyspark-shell"
    jvm = launch_gateway().jvm  # type: ignore[no-untyped-call] # pyspark types it for nobody
    configuration = jvm.org.apache.hadoop.yarn.conf.YarnConfiguration()
    for key, value in _SETTINGS.items():
        configuration.set(key, value)
    cluster = jvm.org.apache.hadoop.yarn.server.MiniYARNCluster("mini", 1, 1, 1)
    cluster.init(configuration)
    cluster.start()
    assert cluster.waitForNodeManagersToConnect(_NODE_LIMIT_MS)
    # The cluster's threads may look for this file at any time, on their class path: never half of it.
    draft = folder / "yarn-site.draft"
    file = jvm.java.io.FileOutputStream(str(draft))
    cluster.getConfig().writeXml(file)
    file.close()
    draft.rename(folder / "yarn-site.xml")
    print("ready", flush=True)
    sys.stdin.read()
    cluster.stop()


def _jars(cache: Path, folder: Path) -> Path:
    """The mini cluster's jars for this Spark's Hadoop, through Spark's own resolver and kept in ``cache``.

    They must lie beside Spark's in one class loader, so they are fetched by a run of its own, of no program.
    """
    home = Path(_find_spark_home())
    hadoop = next(home.glob("jars/hadoop-client-api-*.jar")).stem.rpartition("-")[2]
    ivy = cache / hadoop
    nothing = folder / "nothing.py"
    nothing.touch()
    packages = ["--packages", _PACKAGES.format(hadoop=hadoop), "--exclude-packages", _ALREADY_SPARKS]
    subprocess.run(
        [home / "bin/spark-submit", "--conf", f"spark.jars.ivy={ivy}", *packages, nothing],
        check=True,
        stdout=sys.stderr,
    )
    return ivy / "jars"


if __name__ == "__main__":  # pytest imports every module for its doctests
    main(Path(sys.argv[1]), Path(sys.argv[2]))
