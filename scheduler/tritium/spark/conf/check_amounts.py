"""Mistakes in amounts: how many devices Workers, executors and tasks have."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tritium.spark.conf.finding import Conf, Finding

__all__ = ["EXECUTOR", "RULES", "TASK", "WORKER"]

WORKER = "spark.worker.resource.gpu.amount"
EXECUTOR = "spark.executor.resource.gpu.amount"
TASK = "spark.task.resource.gpu.amount"
_CORES = "spark.executor.cores"
_CPUS = "spark.task.cpus"


def _counts(conf: Conf) -> Iterator[Finding]:
    for key in (WORKER, EXECUTOR, "spark.driver.resource.gpu.amount"):
        text = conf.values.get(key)
        if text is not None and not (text.isascii() and text.isdigit()):
            yield conf.wrong(
                key, "Spark reads an integer here and does not start.", "give whole devices; tasks may share"
            )
    text, amount = conf.values.get(TASK), conf.number(TASK)
    if text is not None and (amount is None or amount <= 0 or (amount > 1 and not amount.is_integer())):
        remedy = "leave it out: gangs and inference ask by profile"
        yield conf.wrong(
            TASK, "Spark takes a fraction up to 1, or a whole number, and does not start with this.", remedy
        )


def _no_executor_amount(conf: Conf) -> Iterator[Finding]:
    if conf.number(EXECUTOR):
        return
    if conf.number(TASK):
        yield conf.wrong(
            EXECUTOR, "Tasks ask for devices that no executor owns: Spark does not start.", "set it as well"
        )
    elif conf.number(WORKER):
        yield conf.wrong(
            EXECUTOR,
            "The Worker's devices are never given to an executor, and gangs take whatever seems free.",
            f"set it, to {conf.values[WORKER]} with one executor for each Worker",
        )


def _worker_too_small(conf: Conf) -> Iterator[Finding]:
    worker, executor = conf.number(WORKER), conf.number(EXECUTOR)
    if not worker or not executor or conf.cluster not in (None, "local", "standalone"):
        return
    if executor > worker:
        yield conf.wrong(
            EXECUTOR,
            f"No Worker, with its {worker:g}, can start an executor of {executor:g}: the application waits "
            "for ever and logs 'Initial job has not accepted any resources'.",
            f"ask for {worker:g} at most, or let the Workers offer more ({WORKER})",
        )
    elif worker % executor:
        yield conf.costly(
            WORKER,
            f"{worker % executor:g} of the Worker's devices are never used by executors of {executor:g}.",
            "make it a multiple of the executors' amount",
        )


def _throttled(conf: Conf) -> Iterator[Finding]:
    executor, task = conf.number(EXECUTOR), conf.number(TASK)
    if not executor or not task or task <= 0:
        return
    slots = executor / task if task >= 1 else executor * (1 / task // 1)
    cores = (conf.number(_CORES) or 0) // (conf.number(_CPUS) or 1)
    if cores > slots:
        what = f"{slots:.0f} of the {cores:.0f} slots of an executor work, in every stage, also where none "
        consequence = what + "needs a device."
    else:
        what = "Every task of every stage asks for a device, also where none needs it: stages of an executor "
        consequence = what + f"run {slots:.0f} tasks at once, whatever its cores."
    yield conf.costly(TASK, consequence, "leave it out: gangs and inference ask by profile")


def _shares(conf: Conf) -> Iterator[Finding]:
    task = conf.number(TASK)
    if task is not None and 0 < task < 1:
        yield conf.wrong(
            TASK,
            "Several tasks get the same address. NCCL cannot form a gang on one card, Tritium's tasks wait "
            "for each other there, and TorchDistributor fails with ValueError: int('0.5').",
            "leave it out: a gang's ranks get whole devices by profile",
        )


def _few_cores(conf: Conf) -> Iterator[Finding]:
    cores, executor = conf.number(_CORES), conf.number(EXECUTOR)
    slots = (cores or 0) // (conf.number(_CPUS) or 1)
    if cores and executor and slots < executor:
        yield conf.costly(
            _CORES,
            f"An executor runs {slots:.0f} tasks at once: of its {executor:g} devices "
            f"{executor - slots:g} stay idle when each rank has one.",
            "give it a core for each device at least",
        )


def _driver(conf: Conf) -> Iterator[Finding]:
    if conf.number("spark.driver.resource.gpu.amount"):
        yield conf.costly(
            "spark.driver.resource.gpu.amount",
            "The driver claims devices that no task can have any more; it computes nothing itself.",
            "leave it out",
        )


RULES: tuple[Callable[[Conf], Iterator[Finding]], ...] = (
    _counts, _no_executor_amount, _worker_too_small, _throttled, _shares, _few_cores, _driver,
)  # fmt: skip
