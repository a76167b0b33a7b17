"""``tritium.session``: Spark on this machine, with Spark's own GPU scheduling and exact devices.

``local-cluster`` is a Master, Workers and executors as on a cluster, all on one host: the Workers live in
the driver's JVM and call gpu-discover as they do anywhere else. That JVM outlives a stopped
SparkContext, so the session gives its claims back itself, before it starts and when it stops.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tritium.errors import SparkFailed
from tritium.spark.conf import conf as conf_for
from tritium.spark.environment import changed
from tritium.spark.java import find_java
from tritium_discovery import DiscoveryError, Settings, claims, holds, state_directory
from tritium_discovery.inventory import Seen
from tritium_discovery.look import look
from tritium_discovery.selection import choose, judge

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["session"]


def session(
    machine: str | None = None,
    *,
    workers: int = 2,
    cores: int = 2,
    memory_mib: int = 1024,
    gpus: int | None = None,
    name: str = "tritium",
    ui: bool = False,
    log: Path | None = None,
    conf: Mapping[str, str] | None = None,
) -> SparkSession:
    """Start Spark with ``workers`` executors of ``cores`` cores and ``gpus`` GPUs each.

    The executors own the GPUs; a stage gets some by its resource profile (`Gang`, `predict`, or
    `resource_profile`), and every other stage asks for none, so that it is not throttled by them.
    It returns when the executors are there. ``spark.stop()`` gives the devices back.

    Args:
        machine: an emulated machine such as ``dgx-a100``; ``None``: as TRITIUM_MACHINE says, else this one.
        workers: Workers, with one executor each.
        cores: cores of each.
        memory_mib: memory of each executor.
        gpus: GPUs of each; ``None``: as many as can be shared out evenly, 0: none.
        name: what Spark calls the application.
        ui: whether to serve Spark's web page.
        log: where the driver's JVM writes what goes wrong in it; ``None``: nowhere.
        conf: more of Spark's settings, which win over ours.

    Raises:
        NoJava: there is no Java 17 or newer.
        SparkFailed: too few devices may be used, or Spark did not start; the reason is in its sentence.
        BadSetting: an environment variable of discovery has a value that cannot be meant.
    """
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    from tritium.spark.jvm import Context, Jvm, application_pattern, require_work_folder

    if SparkContext._active_spark_context is not None:  # noqa: SLF001  pyspark has no other way to ask
        raise SparkFailed("Spark already runs in this process: call stop() on its session first")
    environment = _environment(machine)
    with changed(environment):
        # 1. Refuse what cannot work, in a sentence and before anything is started.
        require_work_folder()
        discovery = Settings.from_env(os.environ)
        share = 0 if gpus == 0 else _share(discovery, gpus, workers)
        settings = {
            **_cluster(workers, cores, memory_mib, share),
            "spark.app.name": name,
            "spark.ui.enabled": str(ui).lower(),
            "spark.deploy.appIdPattern": application_pattern(),
            **_SETTINGS,
            **(conf or {}),
        }
        # 2. A JVM, without claims of an application before us in it.
        jvm = Jvm.serving(settings, environment, log)

        def release() -> None:
            claims.release(state_directory(discovery), owner_pid=jvm.process.pid)

        release()
        # 3. Spark.
        try:
            context = Context(jvm, settings, on_stop=release)
        except Exception as err:
            if share:
                _share(discovery, share, workers)  # says why discovery failed, if it did
            raise SparkFailed(f"Spark did not start: {jvm.complaint()}") from err
        return SparkSession.builder.config(conf=context.getConf()).getOrCreate()


_SETTINGS = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
}


def _environment(machine: str | None) -> dict[str, str]:
    """What the JVM, and with it Workers, executors and their Python workers, are started with."""
    return {
        **{key: value for key, value in os.environ.items() if key.startswith(("TRITIUM_", "CUDA_"))},
        **({"TRITIUM_MACHINE": machine} if machine is not None else {}),
        "JAVA_HOME": str(find_java(os.environ)),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
    }


def _cluster(workers: int, cores: int, memory_mib: int, share: int) -> dict[str, str]:
    """What `tritium conf` says for such a cluster."""
    return conf_for(
        "local",
        executors=workers,
        cores=cores,
        gpus=share,
        memory_mib=memory_mib,
        discovery_script=str(_discovery_script()) if share else None,
    )


def _discovery_script() -> Path:
    """Find gpu-discover where this interpreter's scripts are, else on the PATH.

    Raises:
        SparkFailed: it is in neither place.
    """
    beside = Path(sysconfig.get_path("scripts")) / "gpu-discover"
    found = str(beside) if beside.is_file() else shutil.which("gpu-discover")
    if found is None:
        raise SparkFailed(f"gpu-discover is neither at {beside} nor on the PATH: install Tritium again")
    return Path(found).absolute()


def _share(settings: Settings, gpus: int | None, workers: int) -> int:
    """How many GPUs each Worker gets.

    A Worker whose discovery fails ends the whole JVM (``System.exit``), so the question is asked here
    first, where the answer is a sentence.

    Raises:
        SparkFailed: discovery fails, or fewer devices may be used than are needed.
    """
    try:
        usable = _usable(settings, None if gpus is None else gpus * workers)
    except DiscoveryError as err:
        raise SparkFailed(f"Spark cannot have its GPUs: {err}") from err
    if len(usable) < workers:
        raise SparkFailed(f"Spark cannot have its GPUs: {workers} Workers, {len(usable)} devices")
    return gpus or len(usable) // workers


def _usable(settings: Settings, amount: int | None) -> tuple[Seen, ...]:
    from tritium.spark.jvm import Jvm

    directory = state_directory(settings)
    ours = Jvm.pid()
    claimed = claims.described(claim for claim in claims.live(directory) if claim.owner.pid != ours)
    held = {uuid: holds.described(having) for uuid, having in holds.held(directory).items()}
    return choose(
        judge(look(settings).devices, settings, claimed=claimed, held=held), amount, visible=settings.visible
    )
