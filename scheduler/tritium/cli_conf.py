"""The command ``tritium conf``: parses, calls, prints."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tritium.errors import BadConf, BadSpec
from tritium.spark.conf import CLUSTERS, Cluster, Finding, Wish, check, decide
from tritium.spark.conf.interpreter import examine
from tritium.spark.conf.view import as_data, as_properties, as_text
from tritium_discovery.spark import properties

__all__ = ["conf"]

_PYTHON = "spark.pyspark.python"


@click.command()
@click.argument("cluster", required=False, type=click.Choice(CLUSTERS))
@click.option("--executors", type=int, default=2, show_default=True, help="How many.")
@click.option("--cores", type=int, default=4, show_default=True, help="Of each executor.")
@click.option("--gpus", type=int, default=1, show_default=True, help="Of each executor; 0 for none.")
@click.option("--memory-mib", type=int, default=4096, show_default=True, help="Of each executor's JVM.")
@click.option(
    "--workers", type=int, help="Workers that the executors are spread over; one for each if unsaid."
)
@click.option("--master", metavar="URL", help="Whose executors they are.")
@click.option("--python", metavar="PATH", help="The executors' Python; with --check it is asked what it has.")
@click.option("--discovery-script", metavar="PATH", help="If it is not gpu-discover beside that Python.")
@click.option("--image", help="Of the executors' containers (kubernetes).")
@click.option("--ranks", type=int, help="Of the largest gang, to see that it fits.")
@click.option("--gpus-per-rank", type=int, default=1, show_default=True)
@click.option("--gangs/--no-gangs", default=True, show_default=True, help="Whether gangs run there.")
@click.option("--dynamic", is_flag=True, help="Executors come and go with the load.")
@click.option("--shared", is_flag=True, help="RAPIDS uses the same executors' devices.")
@click.option("--meeting-port", type=int, help="Fixed port of the driver's meeting, for a firewall.")
@click.option(
    "--preimport", multiple=True, metavar="MODULE", help="Loaded before ranks start; may be repeated."
)
@click.option("--explain", is_flag=True, help="Print the reason above each property.")
@click.option(
    "--check", "file", type=click.Path(path_type=Path), help="Find the mistakes in this file instead."
)
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def conf(*, cluster: Cluster | None, file: Path | None, explain: bool, output: str, **wish: Any) -> None:
    """Print Spark properties that go together on a CLUSTER, or find the mistakes in a file of them."""
    if file is not None:
        _check(file, cluster=cluster, python=wish["python"], output=output)
        return
    if cluster is None:
        raise click.UsageError(f"say a CLUSTER ({', '.join(CLUSTERS)}), or --check FILE")
    settings = decide(Wish(cluster=cluster, **wish))
    click.echo(_json(as_data(settings)) if output == "json" else as_properties(settings, explain=explain))


def _check(file: Path, *, cluster: Cluster | None, python: str | None, output: str) -> None:
    try:
        values = properties(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as err:
        raise BadSpec("conf --check", [f"{file} cannot be read: {err}"]) from err
    findings = list(check(values, cluster=cluster))
    # The file's own Python may be one that only the nodes have: then somebody has to say it there.
    named = python or values.get(_PYTHON)
    if named is not None and (python is not None or Path(named).exists()):
        findings += examine(Path(named))
    if output == "json":
        click.echo(_json([asdict(finding) for finding in findings]))
    elif findings:
        click.echo(as_text(findings))
    _judge(file, findings)


def _judge(file: Path, findings: list[Finding]) -> None:
    wrong = sum(finding.weight == "wrong" for finding in findings)
    if wrong:
        raise BadConf(f"{file}: {wrong} of {len(findings)} findings make something fail")
    click.echo(f"tritium: {file}: nothing in it fails, {len(findings)} findings cost something", err=True)


def _json(data: Any) -> str:
    return json.dumps(data, indent=2)
