"""Mistakes in what runs together: gangs and elastic executors, RAPIDS, TorchDistributor, speculation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tritium.spark.conf.check_amounts import EXECUTOR, TASK
from tritium.spark.conf.finding import Conf, Finding

__all__ = ["RULES"]

_PLUGINS = "spark.plugins"
_ADDRESSES = "spark.tritium.addresses"
_ENV_ADDRESSES = "spark.executorEnv.TRITIUM_ADDRESSES"
_REUSE = "spark.python.worker.reuse"


def _dynamic(conf: Conf) -> Iterator[Finding]:
    if conf.on("spark.dynamicAllocation.enabled"):
        yield conf.wrong(
            "spark.dynamicAllocation.enabled",
            "A gang is a barrier stage, which Spark refuses under dynamic allocation (SPARK-24942). "
            "Inference works.",
            "say false, with spark.executor.instances; or run gangs in an application of their own",
        )


def _rapids(conf: Conf) -> Iterator[Finding]:
    if not _has_rapids(conf):
        return
    if (conf.number(EXECUTOR) or 0) > 1:
        consequence = "RAPIDS takes executors of one device, and fails when one has more."
        yield conf.wrong(EXECUTOR, consequence, "say 1, and start more executors")
    if conf.values.get(_ADDRESSES) != "exact":
        yield conf.wrong(
            _ADDRESSES,
            "RAPIDS opens the address that Spark granted, while Tritium chooses among all of the executor's: "
            "both may open the same card.",
            "say exact",
        )
    fraction = "spark.rapids.memory.gpu.allocFraction"
    if (conf.number(fraction) or 1.0) > 0.9:  # noqa: PLR2004  RAPIDS's default, 1, and close to it
        consequence = (
            "RAPIDS takes nearly all of the card's memory when it starts: ranks and models find none."
        )
        yield conf.costly(fraction, consequence, "leave room, for example 0.4")


def _one_of_two(conf: Conf) -> Iterator[Finding]:
    exact = conf.values.get(_ADDRESSES) == "exact"
    in_env = conf.values.get(_ENV_ADDRESSES) == "exact"
    if exact and not in_env:
        consequence = "RDD jobs do not see it: tritium.devices() chooses freely in their tasks."
        yield conf.costly(_ENV_ADDRESSES, consequence, "say exact here too")
    if in_env and not exact:
        consequence = "Only RDD jobs are sure to keep to it; the property is what all others read."
        yield conf.costly(_ADDRESSES, consequence, "say exact here too")


def _torch_distributor(conf: Conf) -> Iterator[Finding]:
    """It is the one that needs an amount in the default profile."""
    if (conf.number(TASK) or 0) >= 1 and conf.on(_REUSE, default=True) and not _has_rapids(conf):
        yield conf.costly(
            _REUSE,
            "With that task amount TorchDistributor(use_gpu=True) runs here, and its ranks keep whatever an "
            "earlier task left in CUDA_VISIBLE_DEVICES of the same worker: no card, or another one. "
            "tritium.Gang does not.",
            "say false as long as both are used; or use tritium.Gang alone, without the task amount",
        )


def _speculation(conf: Conf) -> Iterator[Finding]:
    if conf.on("spark.speculation"):
        consequence = "A second copy of a slow inference task takes a second device for the same rows."
        yield conf.costly("spark.speculation", consequence, "say false where tasks have devices")


def _barrier(conf: Conf) -> Iterator[Finding]:
    ratio = conf.number("spark.scheduler.minRegisteredResourcesRatio")
    if conf.number(EXECUTOR) and conf.cluster is not None and ratio is not None and ratio < 1:
        consequence = "The first gang may come before its executors, and waits for them in its launch limit."
        yield conf.costly("spark.scheduler.minRegisteredResourcesRatio", consequence, "say 1.0")


def _encryption(conf: Conf) -> Iterator[Finding]:
    if conf.on("spark.io.encryption.enabled"):
        yield conf.costly(
            "spark.io.encryption.enabled",
            "Spark encrypts what it spills, and not what it hands to Python: a rank's rows lie in a plain "
            "file of the executor's temporary folder while the gang lives.",
            "let that folder be on an encrypted disk",
        )
    for key in ("spark.network.crypto.enabled", "spark.ssl.rpc.enabled"):
        if conf.on(key):
            yield conf.costly(
                key,
                "It covers Spark's own connections. What a gang's tasks and its driver say is authenticated "
                "and not encrypted, and what ranks say is the framework's.",
                "keep executors and driver in a network of their own",
            )


def _has_rapids(conf: Conf) -> bool:
    return "com.nvidia.spark.SQLPlugin" in conf.values.get(_PLUGINS, "")


RULES: tuple[Callable[[Conf], Iterator[Finding]], ...] = (
    _dynamic, _rapids, _one_of_two, _torch_distributor, _speculation, _barrier, _encryption,
)  # fmt: skip
