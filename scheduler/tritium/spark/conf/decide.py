"""Decides the Spark properties for a cluster and a job, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from tritium.spark.conf.wish import Cluster, Wish

__all__ = ["DAEMON", "Setting", "conf", "decide"]

DAEMON = "tritium.train.daemon"
"""Spark's Python daemon with a fork server beside it."""

_PREIMPORT = ("numpy", "pyspark.cloudpickle", "tritium.train.rank_process")
"""What every rank imports, whatever its framework."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One property."""

    key: str
    value: str
    reason: str
    """A sentence: what it does here, and what would happen otherwise."""
    reader: Literal["application", "worker"] = "application"
    """Who reads it: a standalone Worker has a file of its own on each host."""


def conf(
    cluster: Cluster,
    *,
    executors: int = 2,
    cores: int = 4,
    gpus: int = 1,
    memory_mib: int = 4096,
    workers: int | None = None,
    master: str | None = None,
    python: str | None = None,
    discovery_script: str | None = None,
    image: str | None = None,
    ranks: int | None = None,
    gpus_per_rank: int = 1,
    gangs: bool = True,
    dynamic: bool = False,
    shared: bool = False,
    meeting_port: int | None = None,
    preimport: Sequence[str] = (),
) -> dict[str, str]:
    """Return what an application must tell Spark, for ``SparkSession.builder.config(map=...)``.

    The arguments are the fields of `Wish`. On a standalone cluster each Worker has properties of its own
    besides; ``tritium conf`` prints them too. A driver that spark-submit did not start names the executors'
    Python in PYSPARK_PYTHON; Spark does not look for ``spark.pyspark.python`` then.

    >>> conf("yarn", gpus=2, python="/opt/venv/bin/python")["spark.executor.resource.gpu.discoveryScript"]
    '/opt/venv/bin/gpu-discover'

    Raises:
        BadSpec: the wish contradicts itself, or cannot be had; with all problems.
    """
    wish = Wish(
        cluster=cluster,
        executors=executors,
        cores=cores,
        gpus=gpus,
        memory_mib=memory_mib,
        workers=workers,
        master=master,
        python=python,
        discovery_script=discovery_script,
        image=image,
        ranks=ranks,
        gpus_per_rank=gpus_per_rank,
        gangs=gangs,
        dynamic=dynamic,
        shared=shared,
        meeting_port=meeting_port,
        preimport=tuple(preimport),
    )
    return {one.key: one.value for one in decide(wish) if one.reader == "application"}


def decide(wish: Wish) -> tuple[Setting, ...]:
    """Decide all properties of a wish, in the order in which they are printed."""
    return (*_worker(wish), *_executors(wish), *_devices(wish), *_scheduling(wish), *_python(wish))


def _worker(wish: Wish) -> Iterator[Setting]:
    if wish.cluster not in ("local", "standalone") or not wish.gpus:
        return
    # The Workers of a local cluster live in the driver's JVM, and read the application's properties.
    reader: Literal["application", "worker"] = "application" if wish.cluster == "local" else "worker"
    amount = wish.gpus * wish.executors_per_worker
    yield Setting(
        key="spark.worker.resource.gpu.amount",
        value=str(amount),
        reason=f"A Worker offers as many as its executors ask for; it has {wish.executors_per_worker}.",
        reader=reader,
    )
    yield Setting(
        key="spark.worker.resource.gpu.discoveryScript",
        value=str(wish.script),
        reason="The Worker's devices: exactly that many, healthy, free, and none twice. Without it the "
        "Worker does not start.",
        reader=reader,
    )


def _executors(wish: Wish) -> Iterator[Setting]:
    memory, per = f"{wish.memory_mib}m", wish.executors_per_worker
    master = wish.master
    if wish.cluster == "local" and master is None:
        shape = (wish.workers or wish.executors, wish.cores * per, wish.memory_mib * per)
        master = f"local-cluster[{','.join(map(str, shape))}]"
    if master is not None:
        reason = "Where the executors come from."
        yield Setting(key="spark.master", value=master, reason=reason)
    if wish.image is not None:
        reason = "Holds Python, your code's packages and Tritium."
        yield Setting(key="spark.kubernetes.container.image", value=wish.image, reason=reason)
    if wish.dynamic:
        yield from _dynamic(wish)
    elif wish.cluster in ("yarn", "kubernetes"):
        reason = "All from the start: a gang's ranks begin at once."
        yield Setting(key="spark.executor.instances", value=str(wish.executors), reason=reason)
    else:
        total = wish.executors * wish.cores
        reason = (
            f"{wish.executors} executors of {wish.cores} cores; without it the application takes them all."
        )
        yield Setting(key="spark.cores.max", value=str(total), reason=reason)
    reason = "Tasks that an executor runs at once."
    yield Setting(key="spark.executor.cores", value=str(wish.cores), reason=reason)
    reason = "For the JVM. Ranks and models live outside of it, in memory that no property of Spark's gives."
    yield Setting(key="spark.executor.memory", value=memory, reason=reason)


def _dynamic(wish: Wish) -> Iterator[Setting]:
    reason = "Executors come and go with the load: this application runs no gang, which would be refused."
    yield Setting(key="spark.dynamicAllocation.enabled", value="true", reason=reason)
    reason = "Executors with shuffle files stay; a shuffle service is not needed."
    yield Setting(key="spark.dynamicAllocation.shuffleTracking.enabled", value="true", reason=reason)
    reason = "As many as were asked for."
    yield Setting(key="spark.dynamicAllocation.maxExecutors", value=str(wish.executors), reason=reason)


def _devices(wish: Wish) -> Iterator[Setting]:
    if not wish.gpus:
        return
    yield Setting(
        key="spark.executor.resource.gpu.amount",
        value=str(wish.gpus),
        reason="Executors own devices. There is no spark.task.resource.gpu.amount on purpose: gangs and "
        "inference ask by resource profiles, and all other stages use every core.",
    )
    if wish.cluster in ("yarn", "kubernetes"):
        yield Setting(
            key="spark.executor.resource.gpu.discoveryScript",
            value=str(wish.script),
            reason="An executor here finds its devices itself; without the script it does not start.",
        )
    if wish.cluster == "kubernetes":
        reason = "The container's limit becomes nvidia.com/gpu; without it Spark makes no executor."
        yield Setting(key="spark.executor.resource.gpu.vendor", value="nvidia.com", reason=reason)
    yield Setting(
        key="spark.executorEnv.CUDA_DEVICE_ORDER",
        value="PCI_BUS_ID",
        reason="Code that counts devices by integers means the same cards as gpu-discover, also where "
        "products are mixed.",
    )
    if wish.shared:
        because = "RAPIDS opens the very address that Spark grants, so Tritium keeps to those as well"
        reason = f"{because}, and only orders them."
        yield Setting(key="spark.tritium.addresses", value="exact", reason=reason)
        reason = "The same for RDD jobs, whose tasks do not see the application's properties."
        yield Setting(key="spark.executorEnv.TRITIUM_ADDRESSES", value="exact", reason=reason)


def _scheduling(wish: Wish) -> Iterator[Setting]:
    if wish.gangs:
        reason = "The first job begins when all executors are there, so that a gang finds its slots."
        yield Setting(key="spark.scheduler.minRegisteredResourcesRatio", value="1.0", reason=reason)
        reason = "The limit for that; by default it is 30 s."
        yield Setting(key="spark.scheduler.maxRegisteredResourcesWaitingTime", value="120s", reason=reason)
    if wish.gpus:
        reason = "A second copy of a slow inference task would take a second device for the same rows."
        yield Setting(key="spark.speculation", value="false", reason=reason)
    if wish.meeting_port is not None:
        reason = "The driver's port where a gang's tasks meet; one gang at a time has it."
        yield Setting(key="spark.tritium.meeting.port", value=str(wish.meeting_port), reason=reason)


def _python(wish: Wish) -> Iterator[Setting]:
    if wish.python is not None:
        reason = (
            "The executors' Python, with Tritium and your code's packages. spark-submit heeds it; a driver "
            "that is started as plain Python needs PYSPARK_PYTHON in its environment instead."
        )
        yield Setting(key="spark.pyspark.python", value=wish.python, reason=reason)
    if wish.gangs:
        reason = "A fork server beside Spark's own daemon: ranks start in a fraction of a second."
        yield Setting(key="spark.python.daemon.module", value=DAEMON, reason=reason)
    if wish.preimport:
        reason = "What the fork server loads before any rank starts."
        yield Setting(
            key="spark.executorEnv.TRITIUM_PREIMPORT",
            value=",".join((*_PREIMPORT, *wish.preimport)),
            reason=reason,
        )
