"""Mistakes in how the executors' Python is run: daemon, workers, memory, and which Python it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tritium.spark.conf.decide import DAEMON
from tritium.spark.conf.finding import Conf, Finding

__all__ = ["RULES"]

_MODULE = "spark.python.daemon.module"
_USE = "spark.python.use.daemon"
_REUSE = "spark.python.worker.reuse"
_KILL = "spark.python.worker.killOnIdleTimeout"
_IDLE = "spark.python.worker.idleTimeoutSeconds"


def _daemon(conf: Conf) -> Iterator[Finding]:
    if not conf.on(_USE, default=True):
        consequence = "Every task starts a Python of its own, and every rank imports its framework anew."
        yield conf.costly(_USE, consequence, "leave it out")
    elif _MODULE not in conf.values:
        consequence = "There is no fork server: every rank imports its framework anew, which takes seconds."
        yield conf.costly(_MODULE, consequence, f"say {DAEMON}")
    elif conf.values[_MODULE] == "rapids.daemon":
        consequence = "RAPIDS's daemon has no fork server: gangs work, and start in seconds."
        yield conf.costly(
            _MODULE, consequence, f"say {DAEMON}, unless pandas functions use RAPIDS's memory pool"
        )
    elif (
        conf.values[_MODULE] != DAEMON and conf.values[_MODULE].partition(".")[0] == DAEMON.partition(".")[0]
    ):
        consequence = "Tritium has no such daemon: no Python worker starts, and every job in Python fails."
        yield conf.wrong(_MODULE, consequence, f"say {DAEMON}")
    elif conf.values[_MODULE] != DAEMON:
        consequence = "This daemon has no fork server of Tritium's: gangs work, and start in seconds."
        yield conf.costly(_MODULE, consequence, f"say {DAEMON}")


def _reuse(conf: Conf) -> Iterator[Finding]:
    if not conf.on(_REUSE, default=True):
        consequence = (
            "Every task starts a worker anew. Tritium leaves nothing in a worker, so it gains nothing."
        )
        yield conf.costly(
            _REUSE, consequence, "leave it out, unless others here set variables in their tasks"
        )


def _killed(conf: Conf) -> Iterator[Finding]:
    if conf.on(_KILL) and conf.number(_IDLE):
        yield conf.wrong(
            _KILL,
            "A gang's tasks say nothing to Spark until it ends: they are killed, and the gang with them, "
            f"after {conf.values[_IDLE]} s.",
            "say false",
        )


def _memory(conf: Conf) -> Iterator[Finding]:
    key = "spark.executor.pyspark.memory"
    if key in conf.values:
        yield conf.wrong(
            key,
            "It limits the address space of Python workers (RLIMIT_AS), and CUDA reserves far more of that "
            "than it uses: it fails to start, or with out of memory on an idle card.",
            "leave it out; limit memory by the container",
        )


def _threads_of_a_rank(conf: Conf) -> Iterator[Finding]:
    key = "spark.executorEnv.OMP_NUM_THREADS"
    if key in conf.values:
        consequence = "Ranks do not heed it: each gets the cores of its executor, divided by its ranks there."
        yield conf.costly(key, consequence, "leave it out")


def _which(conf: Conf) -> Iterator[Finding]:
    key = "spark.pyspark.python"
    if key not in conf.values and conf.cluster in ("standalone", "yarn"):
        yield conf.costly(
            key,
            "Executors take PYSPARK_PYTHON of the driver's environment, else whatever python3 their PATH "
            "finds; it must have Tritium.",
            "name it by its absolute path, and try it on a node: tritium conf --check FILE --python PATH",
        )


RULES: tuple[Callable[[Conf], Iterator[Finding]], ...] = (
    _daemon, _reuse, _killed, _memory, _threads_of_a_rank, _which,
)  # fmt: skip
