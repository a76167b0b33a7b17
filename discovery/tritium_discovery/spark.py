"""What Spark leaves for a discovery script to find, and the report that Spark reads.

Spark calls the script with no arguments (``ResourceDiscoveryScriptPlugin``), so the amount is found where
the JVM that calls has it: on its command line, in SPARK_WORKER_OPTS, or in a properties file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tritium_discovery.errors import BadSetting
from tritium_discovery.inventory import Seen

__all__ = ["Amount", "command_line", "find_amount", "find_script", "properties", "report", "resources_file"]

_PROPERTY = re.compile(r"\s*([^\s=:]+)\s*[=:\s]\s*(.*?)\s*")


class Amount(NamedTuple):
    """How many devices Spark wants, and who says so."""

    devices: int
    where: str
    """E.g. ``spark.worker.resource.gpu.amount on the command line of the JVM``."""


def find_amount(
    *,
    jvm: Sequence[str],
    environ: Mapping[str, str],
    directory: Path,
    components: Sequence[str] | None = None,
) -> Amount | None:
    """The amount that Spark's configuration holds; ``None`` when it is nowhere to be found.

    ``jvm`` is the command line of the calling JVM, which also says for which of the ``components`` it asks
    unless that is known, and ``directory`` its working directory. On YARN the
    properties travel in ``__spark_conf__``; on Kubernetes they stay with the driver, and the container
    holds exactly the right devices instead.

    Raises:
        BadSetting: the amount is no count, or two components of one JVM want different ones.
    """
    for where, conf in _places(jvm, environ, directory):
        found = {
            key: conf[key]
            for key in (f"spark.{part}.resource.gpu.amount" for part in components or _components(jvm))
            if key in conf
        }
        if len(set(found.values())) > 1:
            raise BadSetting(
                f"{' and '.join(f'{key}={found[key]}' for key in found)}: say TRITIUM_GPU_AMOUNT"
            )
        for key, text in found.items():
            if not (text.isascii() and text.isdigit()):
                raise BadSetting(f"{key}: expected an integer >= 0, got {text!r} ({where})")
            return Amount(devices=int(text), where=f"{key} {where}")
    return None


def find_script(*, jvm: Sequence[str], environ: Mapping[str, str], directory: Path) -> str | None:
    """The discovery script that Spark's configuration names, found as `find_amount` finds the amount.

    Raises:
        BadSetting: an options variable cannot be split into words.
    """
    for _, conf in _places(jvm, environ, directory):
        for part in ("worker", "executor", "driver"):
            if conf.get(f"spark.{part}.resource.gpu.discoveryScript"):
                return conf[f"spark.{part}.resource.gpu.discoveryScript"]
    return None


def _components(jvm: Sequence[str]) -> tuple[str, ...]:
    """For which component a JVM asks: a Worker, an executor, or a driver (perhaps with Workers inside)."""
    if any(word.endswith("ExecutorBackend") for word in jvm):
        return ("executor",)
    if "org.apache.spark.deploy.worker.Worker" in jvm:
        return ("worker",)
    return ("worker", "driver")


def _places(
    jvm: Sequence[str], environ: Mapping[str, str], directory: Path
) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Where Spark's configuration may lie, strongest first."""
    yield "on the command line of the JVM", _arguments(jvm)
    for name in ("SPARK_WORKER_OPTS", "SPARK_DAEMON_JAVA_OPTS"):
        if not environ.get(name):
            continue
        import shlex  # rarely needed, and this path must start fast

        try:
            yield f"in {name}", _arguments(shlex.split(environ[name]))
        except ValueError as err:
            raise BadSetting(f"{name}: {err}") from err
    files = [directory / jvm[at + 1] for at, word in enumerate(jvm[:-1]) if word == "--properties-file"]
    files.append(directory / "__spark_conf__" / "__spark_conf__.properties")
    if environ.get("SPARK_CONF_DIR"):
        files.append(Path(environ["SPARK_CONF_DIR"]) / "spark-defaults.conf")
    if environ.get("SPARK_HOME"):
        files.append(Path(environ["SPARK_HOME"]) / "conf" / "spark-defaults.conf")
    for file in files:
        yield f"in {file}", properties(_text(file))


def _arguments(words: Sequence[str]) -> Mapping[str, str]:
    """The settings on a command line: ``-Dkey=value`` and ``--conf key=value``.

    >>> _arguments(["java", "-Da=1", "--conf", "b=2"])
    {'a': '1', 'b': '2'}
    """
    found = [word.removeprefix("-D") for word in words if word.startswith("-D")]
    found += [words[at + 1] for at, word in enumerate(words[:-1]) if word == "--conf"]
    return {key: value for key, _, value in (pair.partition("=") for pair in found)}


def properties(text: str) -> Mapping[str, str]:
    r"""A properties file as Spark writes and reads it: one ``key value`` or ``key=value`` per line.

    >>> properties("# comment\nspark.a   1\nspark.b=2")
    {'spark.a': '1', 'spark.b': '2'}
    """
    lines = (line for line in text.splitlines() if line.strip() and line.lstrip()[0] not in "#!")
    return {match[1]: match[2] for match in map(_PROPERTY.fullmatch, lines) if match}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def command_line(pid: int) -> tuple[str, ...]:
    """The words that a process was started with; empty when it is gone."""
    return tuple(_text(Path(f"/proc/{pid}/cmdline")).split("\0")[:-1])


def report(devices: Sequence[Seen], *, machine: str | None) -> str:
    """The line that Spark reads (``ResourceInformationJson``): name and addresses; it skips the rest."""
    emulated = {} if machine is None else {"emulated": machine}
    return json.dumps(
        {
            "name": "gpu",
            "addresses": [str(device.address) for device in devices],
            **emulated,
            "devices": [
                {
                    "address": device.address,
                    "uuid": device.uuid,
                    "pci_bus_id": device.pci_bus_id,
                    "product": device.product,
                    "memory_mib": device.memory_mib,
                }
                for device in devices
            ],
        }
    )


def resources_file(devices: Sequence[Seen], *, component: str) -> str:
    """The content of ``spark.worker.resourcesFile`` (``ResourceAllocation``), which wins over the script."""
    name = {"componentName": component, "resourceName": "gpu"}
    content = [{"id": name, "addresses": [str(device.address) for device in devices]}]
    return f"{json.dumps(content)}\n"
