"""What somebody wants of a cluster, and every reason why it cannot be had as it was said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from tritium.errors import BadSpec

__all__ = ["CLUSTERS", "Cluster", "Wish"]

Cluster = Literal["local", "standalone", "yarn", "kubernetes"]
"""Who starts the executors; ``local`` is Spark's ``local-cluster``, with Workers inside the driver's JVM."""

CLUSTERS: tuple[Cluster, ...] = get_args(Cluster)

_MASTERS = {"local": "local-cluster[", "standalone": "spark://", "yarn": "yarn", "kubernetes": "k8s://"}
_LEAST_MEMORY_MIB = 471
"""Below it an executor refuses to start (``UnifiedMemoryManager``, 1.5 times 300 MiB, and rounding)."""
_PORTS = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A cluster and the job on it.

    Raises (on construction):
        BadSpec: it contradicts itself, or cannot be had; with all problems.
    """

    cluster: Cluster
    executors: int = 2
    cores: int = 4
    """Of each executor: how many tasks it runs at once."""
    gpus: int = 1
    """Of each executor; 0 for a cluster without."""
    memory_mib: int = 4096
    """Of each executor's JVM."""
    workers: int | None = None
    """Workers that the executors are spread over (``local``, ``standalone``); ``None``: one for each."""
    master: str | None = None
    """E.g. ``spark://head:7077``; ``None``: whatever spark-submit is told."""
    python: str | None = None
    """The executors' Python, e.g. ``/opt/venv/bin/python``."""
    discovery_script: str | None = None
    """``None``: gpu-discover beside the executors' Python."""
    image: str | None = None
    """Container image of the executors (``kubernetes``)."""
    ranks: int | None = None
    """Of the largest gang; ``None``: not known."""
    gpus_per_rank: int = 1
    gangs: bool = True
    """Whether gangs run here; ``False``: only inference and other independent tasks."""
    dynamic: bool = False
    """Whether executors come and go with the load (``spark.dynamicAllocation.enabled``)."""
    shared: bool = False
    """Whether others that trust Spark's addresses, RAPIDS above all, use the same executors' devices."""
    meeting_port: int | None = None
    """Fixed port of the driver's meeting, where a firewall asks for one."""
    preimport: tuple[str, ...] = ()
    """Modules that the fork server loads; empty: torch, if it is installed."""

    def __post_init__(self) -> None:
        if self.cluster not in CLUSTERS:
            raise BadSpec("conf", [f"cluster: {self.cluster!r} is unknown; there are {', '.join(CLUSTERS)}"])
        problems = [*_numbers(self)]
        # What follows divides by these numbers.
        problems += [] if problems else [*_amounts(self), *_fit(self)]
        problems += [*_places(self), *_combinations(self)]
        if problems:
            raise BadSpec("conf", problems)

    @property
    def script(self) -> str | None:
        """The discovery script, if it is said or can be told from the Python."""
        if self.discovery_script is not None or self.python is None:
            return self.discovery_script
        return f"{self.python.rpartition('/')[0]}/gpu-discover"

    @property
    def executors_per_worker(self) -> int:
        """How many executors share a Worker."""
        return self.executors // (self.workers or self.executors)


def _numbers(wish: Wish) -> Iterator[str]:
    least: list[tuple[str, object, int]] = [
        ("executors", wish.executors, 1),
        ("cores", wish.cores, 1),
        ("gpus", wish.gpus, 0),
        ("memory_mib", wish.memory_mib, _LEAST_MEMORY_MIB),
        ("workers", 1 if wish.workers is None else wish.workers, 1),
        ("ranks", 1 if wish.ranks is None else wish.ranks, 1),
        ("gpus_per_rank", wish.gpus_per_rank, 0),
    ]
    for name, value, floor in least:
        if not isinstance(value, int) or value < floor:
            yield f"{name}: expected an integer >= {floor}, got {value!r}"
    if wish.meeting_port is not None and not 0 < wish.meeting_port <= _PORTS:
        yield f"meeting_port: expected a port from 1 to {_PORTS}, got {wish.meeting_port!r}"


def _amounts(wish: Wish) -> Iterator[str]:
    if wish.executors % (wish.workers or 1):
        yield f"workers: {wish.executors} executors cannot be spread evenly over {wish.workers} Workers"
    if not (wish.gangs and wish.gpus and wish.gpus_per_rank):
        return
    if wish.gpus % wish.gpus_per_rank:
        idle = wish.gpus % wish.gpus_per_rank
        yield f"gpus: {idle} of the {wish.gpus} of an executor stay idle beside ranks of {wish.gpus_per_rank}"


def _fit(wish: Wish) -> Iterator[str]:
    if wish.ranks is None or not wish.gangs:
        return
    each = wish.gpus_per_rank
    if each and not wish.gpus:
        yield f"ranks: {wish.ranks} ranks of {each} gpus cannot start where executors have none"
        return
    seats = min(wish.cores, wish.gpus // each) if each else wish.cores
    if wish.ranks > wish.executors * seats:
        yield (
            f"ranks: {wish.ranks} must start at once, and {wish.executors} executors of {wish.cores} cores "
            f"and {wish.gpus} gpus have room for {wish.executors * seats} ranks of {each} gpus"
        )


def _places(wish: Wish) -> Iterator[str]:
    for name, path in (("python", wish.python), ("discovery_script", wish.discovery_script)):
        if path is not None and not path.startswith("/"):
            yield f"{name}: expected an absolute path, the same on every node, got {path!r}"
    if wish.gpus and wish.script is None:
        yield "python: say where the executors' Python is, so that gpu-discover is found beside it"
    if wish.cluster == "kubernetes" and wish.image is None:
        yield "image: executors on kubernetes need one, with Tritium in it"
    if wish.cluster != "kubernetes" and wish.image is not None:
        yield f"image: {wish.cluster} runs no containers"
    if wish.cluster in ("yarn", "kubernetes") and wish.workers is not None:
        yield f"workers: {wish.cluster} has none; say executors"
    if wish.master is not None and not wish.master.startswith(_MASTERS[wish.cluster]):
        yield f"master: {wish.cluster} has one like {_MASTERS[wish.cluster]!r}, got {wish.master!r}"


def _combinations(wish: Wish) -> Iterator[str]:
    if wish.dynamic and wish.gangs:
        yield (
            "dynamic: Spark refuses barrier stages, which gangs are, under dynamic allocation (SPARK-24942); "
            "say gangs=False (--no-gangs) for an application that only infers"
        )
    if wish.dynamic and wish.cluster == "local":
        yield "dynamic: a local cluster has all of its executors from the start"
    if wish.ranks is not None and not wish.gangs:
        yield "ranks: without gangs there are none"
    if wish.shared and not wish.gpus:
        yield "shared: executors without gpus share none"
    if wish.shared and wish.gpus > 1:
        yield f"shared: RAPIDS takes executors of one gpu, not of {wish.gpus}; start more executors instead"
