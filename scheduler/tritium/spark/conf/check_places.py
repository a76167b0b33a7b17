"""Mistakes in how devices and the driver are found: scripts, vendors, addresses, masters."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tritium.spark.conf.check_amounts import EXECUTOR, WORKER
from tritium.spark.conf.finding import Conf, Finding
from tritium.spark.conf.port import PORTS, is_port

__all__ = ["RULES"]

_PLUGIN = "spark.resources.discoveryPlugin"
_SPARKS_PLUGIN = "org.apache.spark.resource.ResourceDiscoveryScriptPlugin"
_DRIVER_HOST = "spark.driver.host"
_VENDOR = "spark.executor.resource.gpu.vendor"
_OWN = ("spark.tritium.addresses", "spark.tritium.meeting.port", "spark.tritium.metrics.port")
_LOOPBACK = ("127.", "localhost", "::1")


def _script(conf: Conf) -> Iterator[Finding]:
    worker = conf.cluster in (None, "local", "standalone") and conf.number(WORKER)
    executor = conf.cluster in ("yarn", "kubernetes") and conf.number(EXECUTOR)
    for asks, who in ((worker, "worker"), (executor, "executor")):
        key = f"spark.{who}.resource.gpu.discoveryScript"
        path = conf.values.get(key)
        if path is None:
            if (
                asks
                and f"spark.{who}.resourcesFile" not in conf.values
                and "spark.resources" not in conf.values
            ):
                consequence = f"Spark has nobody to ask for the devices: the {who} ends when it starts."
                yield conf.wrong(key, consequence, "name gpu-discover by its absolute path")
        elif not path.startswith("/") or " " in path.strip():
            consequence = f"Spark starts a file of this very name, without a shell or a PATH: the {who} ends."
            yield conf.wrong(
                key, consequence, "give an absolute path, without options; settings are variables"
            )


def _stock_script(conf: Conf) -> Iterator[Finding]:
    for who in ("worker", "executor"):
        key = f"spark.{who}.resource.gpu.discoveryScript"
        if conf.values.get(key, "").endswith("getGpusResources.sh"):
            yield conf.costly(
                key,
                "It lists every card of the host, ill, busy or promised to others, and two executors on one "
                "host the same ones.",
                "use gpu-discover",
            )
    plugin = conf.values.get(_PLUGIN, _SPARKS_PLUGIN)
    if plugin != _SPARKS_PLUGIN:
        consequence = (
            "It takes the place of the discovery script: nothing is claimed, and health is not asked."
        )
        yield conf.costly(_PLUGIN, consequence, "leave it out")


def _vendor(conf: Conf) -> Iterator[Finding]:
    if conf.cluster == "kubernetes" and conf.number(EXECUTOR) and _VENDOR not in conf.values:
        consequence = "Spark cannot name the resource for the container, and makes no executor."
        yield conf.wrong(_VENDOR, consequence, "set it to nvidia.com")


def _yarn(conf: Conf) -> Iterator[Finding]:
    key = "spark.yarn.executor.resource.yarn.io/gpu.amount"
    if key in conf.values:
        consequence = "Spark refuses YARN's own name for what it asks for itself."
        yield conf.wrong(key, consequence, f"say {EXECUTOR} only")


def _threads(conf: Conf) -> Iterator[Finding]:
    if conf.threads and conf.number(EXECUTOR):
        yield conf.wrong(
            EXECUTOR,
            "local[N] has no executors, so no task with a device ever starts. Without the amount, gangs and "
            "inference take the host's free devices.",
            "leave it out, or use tritium.session(), which is a cluster on one machine",
        )


def _driver_host(conf: Conf) -> Iterator[Finding]:
    host, master = conf.values.get(_DRIVER_HOST, ""), conf.values.get("spark.master", "")
    elsewhere = conf.cluster in ("yarn", "kubernetes") or (
        master.startswith("spark://") and not master.removeprefix("spark://").startswith(_LOOPBACK)
    )
    if host.startswith(_LOOPBACK) and elsewhere:
        consequence = "Executors on other hosts look for the driver, and for a gang's meeting, on themselves."
        yield conf.wrong(_DRIVER_HOST, consequence, "give a name under which all nodes reach the driver")


def _own_properties(conf: Conf) -> Iterator[Finding]:
    for key in sorted(conf.values):
        if key.startswith("spark.tritium.") and key not in _OWN:
            yield conf.wrong(
                key, "Tritium has no such property, so it does nothing.", f"use {' or '.join(_OWN)}"
            )
    addresses, port, metrics = (conf.values.get(key) for key in _OWN)
    if addresses not in (None, "exact"):
        consequence = (
            "Only 'exact' means something: the assigner chooses among all of the executor's devices."
        )
        yield conf.wrong(_OWN[0], consequence, "say exact, or leave it out")
    if metrics is not None and not is_port(metrics):
        yield conf.wrong(_OWN[2], "No gang can start: that is no port.", f"give a number up to {PORTS}")
    if port is None:
        return
    if not is_port(port):
        yield conf.wrong(_OWN[1], "No gang can start: that is no port.", f"give a number up to {PORTS}")
    elif int(port):
        consequence = "One gang at a time has the port: a second one in the same application is refused."
        yield conf.costly(_OWN[1], consequence, "leave it out where no firewall asks for it")


def _visible(conf: Conf) -> Iterator[Finding]:
    key = "spark.executorEnv.CUDA_VISIBLE_DEVICES"
    if key in conf.values:
        yield conf.wrong(
            key,
            "All executors see these same cards: two on one host share them, and others index Spark's "
            "addresses into them, which opens the wrong card.",
            "leave it out: each rank and each block of tritium.devices() is shown its own devices",
        )
    order = "spark.executorEnv.CUDA_DEVICE_ORDER"
    if conf.values.get(order, "PCI_BUS_ID") != "PCI_BUS_ID":
        consequence = "On hosts with mixed products integers mean other cards than gpu-discover reported."
        yield conf.wrong(order, consequence, "say PCI_BUS_ID")


RULES: tuple[Callable[[Conf], Iterator[Finding]], ...] = (
    _script, _stock_script, _vendor, _yarn, _threads, _driver_host, _own_properties, _visible,
)  # fmt: skip
