"""The commands of ``gpu-discover``: they parse and print, and nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from tritium_discovery import claims, holds, matrix, validate
from tritium_discovery.claims_view import claim_rows
from tritium_discovery.device import Device, Inventory, Link, Uuid
from tritium_discovery.doctor import examine
from tritium_discovery.environment import closed, environment, warnings
from tritium_discovery.errors import DiscoveryError, Refused, Unwritten
from tritium_discovery.look import Discovery, look, published
from tritium_discovery.selection import choose, idle_words, judge
from tritium_discovery.settings import Settings
from tritium_discovery.spark import find_amount, resources_file
from tritium_discovery.state import replace_file, state_directory
from tritium_discovery.table import table

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code: 0, 2 for bad usage, else that of the failure."""
    try:
        code = gpu_discover.main(list(arguments), prog_name="gpu-discover", standalone_mode=False)
    except click.ClickException as err:
        err.show()
        return err.exit_code
    except DiscoveryError as err:
        _say(str(err))
        return err.exit_code
    except click.Abort:
        return 130
    except OSError as err:  # of stdout, as all other files are opened by those who know what it means
        _say(f"the answer cannot be written: {err.strerror}")
        return Unwritten.exit_code
    return code if isinstance(code, int) else 0


_EPILOG = """\b
Settings are variables, since Spark passes a script no arguments; above all
  TRITIUM_GPU_AMOUNT            how many devices to report, else as Spark says
  TRITIUM_ALLOW, TRITIUM_DENY   only or never these devices
  TRITIUM_TIMEOUT_S             seconds until a silent driver is an error
  TRITIUM_DIR                   where claims and holds live
  TRITIUM_MACHINE               an emulated machine, such as dgx-a100
All of them, and the exit codes, are in discovery/README.md of the sources.
"""


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True, epilog=_EPILOG
)
@click.version_option(package_name="tritium", message="%(prog)s %(version)s")
@click.option("--resources-file", type=click.Path(path_type=Path), help="Write Spark's resourcesFile there.")
@click.option(
    "--component",
    type=click.Choice(["spark.worker", "spark.executor", "spark.driver"]),
    default="spark.worker",
    show_default=True,
    help="Whom the resources file is for.",
)
@click.pass_context
def gpu_discover(context: click.Context, resources_file: Path | None, component: str) -> None:
    """Which devices does this host have, and may they be used?

    Without arguments this is Spark's discovery script; it is configured by the environment alone.
    """
    if resources_file is not None and context.invoked_subcommand is not None:
        raise click.UsageError("--resources-file is a command of its own", context)
    if resources_file is not None:
        _write_resources(resources_file, component)
    elif context.invoked_subcommand is None:
        raise click.UsageError("a command or --resources-file is needed", context)


def _write_resources(path: Path, component: str) -> None:
    settings, amount = _settings(), None
    if settings.amount is None:
        part = component.removeprefix("spark.")
        amount = find_amount(jvm=(), environ=os.environ, directory=Path(), components=(part,))
    found = look(settings)
    chosen = choose(
        judge(found.devices, settings, claimed=_claimed(settings), held=_held(settings)),
        settings.amount if amount is None else amount.devices,
        visible=settings.visible,
    )
    replace_file(path.absolute(), resources_file(chosen, component=component))
    machine = found.observation.machine
    what = "devices" if machine is None else f"emulated devices of {machine}"
    _say(f"{path} names {len(chosen)} {what}; nothing is claimed, as no JVM has them yet")


_output = click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)


@gpu_discover.command("list")
@_output
def list_(output: str) -> None:
    """All devices that this process sees, healthy or not."""
    inventory = _inventory(_settings(), output=output)
    if output == "json":
        _print_json({**_head(inventory), "devices": [asdict(device) for device in inventory.devices]})
        return
    rows = [("ADDR", "UUID", "PCI", "PRODUCT", "MIB", "FREE", "CC", "NUMA", "HEALTH")]
    rows += [_row(device) for device in inventory.devices]
    click.echo(table(rows))


def _row(device: Device) -> tuple[str, str, str, str, str, str, str, str, str]:
    return (
        str(device.address),
        device.uuid,
        device.pci_bus_id,
        device.product,
        str(device.memory_mib) if device.memory_mib else "-",
        str(device.free_mib) if device.memory_mib else "-",
        ".".join(map(str, device.capability)) if any(device.capability) else "-",
        "-" if device.numa_node is None else str(device.numa_node),
        "ok" if device.healthy else "; ".join(device.troubles),
    )


@gpu_discover.command()
@_output
def explain(output: str) -> None:
    """What would be reported now, what not, and why."""
    settings = _settings()
    found = look(settings)
    inventory = _public(found, output=output)
    verdicts = judge(found.devices, settings, claimed=_claimed(settings), held=_held(settings))
    for words in idle_words(found.devices, settings):
        _say(words)
    if output == "json":
        devices = [
            {"address": one.device.address, "uuid": one.device.uuid, "kept": one.kept, "reasons": one.reasons}
            for one in verdicts
        ]
        _print_json({**_head(inventory), "devices": devices})
        return
    rows = [("ADDR", "UUID", "KEPT", "WHY NOT")]
    rows += [
        (str(one.device.address), one.device.uuid, "yes" if one.kept else "no", "; ".join(one.reasons))
        for one in verdicts
    ]
    click.echo(table(rows))


@gpu_discover.command("claims")
@_output
@click.option(
    "--release", metavar="CLAIM", help="Drop a claim whose owner cannot be seen from here any more."
)
def claims_(output: str, release: str | None) -> None:
    """Who claims and who holds which device, since when."""
    directory = state_directory(_settings())
    if release is not None:
        claims.drop(directory, claim_id=release)
        return
    rows = tuple(claim_rows(claims.live(directory), holds.held(directory)))
    if output == "json":
        _print_json(rows)
        return
    cells = [["-" if cell is None else str(cell) for cell in row.values()] for row in rows]
    click.echo(table([("UUID", "ADDR", "CLAIMED BY", "SINCE", "EMULATED", "HELD BY", "SINCE"), *cells]))


@gpu_discover.command()
@_output
def topo(output: str) -> None:
    """The links between all devices, as a matrix."""
    inventory = _inventory(_settings(), output=output)
    if output == "json":
        _print_json(
            {**_head(inventory), "links": [_link(*pair, link) for pair, link in inventory.links.items()]}
        )
        return
    click.echo(matrix.draw(inventory))
    click.echo(f"\n{matrix.LEGEND}")


def _link(one: Uuid, other: Uuid, link: Link) -> dict[str, object]:
    return {"devices": [one, other], "kind": link.kind.name, "lanes": link.lanes}


@gpu_discover.command()
@click.argument("addresses", nargs=-1, required=True, type=click.IntRange(min=0))
def env(addresses: tuple[int, ...]) -> None:
    """CUDA's variables for devices, by their Spark addresses.

    Give the addresses one by one: gpu-discover env 0 1
    """
    if len(set(addresses)) < len(addresses):
        raise click.UsageError("an address comes twice, and CUDA sees no device at all then")
    settings = _settings()
    inventory = _inventory(settings)
    devices = claims.resolve(addresses, directory=state_directory(settings), inventory=inventory)
    for warning in warnings(devices, device_order="PCI_BUS_ID"):
        _say(warning)
    for device in devices:
        if not device.healthy:
            _say(f"device {device.address} ({device.uuid}): {'; '.join(device.troubles)}")
    for name, value in environment(devices).items():
        click.echo(f"{name}={value}")


@gpu_discover.command()
@_output
def doctor(output: str) -> int:
    """Everything that support asks for first, each with its remedy."""
    checks = tuple(examine(os.environ, Path()))
    if output == "json":
        _print_json([asdict(check) for check in checks])
    else:
        click.echo(table([(check.state, check.subject, check.sentence) for check in checks]))
    return next((check.exit_code for check in checks if check.state == "bad"), 0)


@gpu_discover.command("validate")
@click.argument("script", type=click.Path(path_type=Path))
@click.option(
    "--amount",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many devices Spark would ask for.",
)
def validate_(script: Path, amount: int) -> None:
    """What Spark would do with a discovery script's answer.

    Any script: it is run as Spark runs it, with a time limit.
    """
    findings = validate.run(script, amount=amount, timeout_s=_settings().timeout_s)
    for finding in findings:
        click.echo(f"{'refused' if finding.fatal else 'taken, but'}: {finding.sentence}")
    if any(finding.fatal for finding in findings):
        raise Refused(f"Spark would not accept {script}")
    if not findings:
        click.echo("accepted")


def _settings() -> Settings:
    return Settings.from_env(os.environ)


def _inventory(settings: Settings, *, output: str = "table") -> Inventory:
    return _public(look(settings), output=output)


def _public(found: Discovery, *, output: str) -> Inventory:
    """What there is; an emulated table says so in its first line, a comment to shells (JSON has a field)."""
    inventory = published(found)
    if found.observation.refused:
        _say(closed(found.observation.refused))
    if inventory.machine is not None and output == "table":
        click.echo(f"# emulated machine {inventory.machine}: no real device")
    return inventory


def _head(inventory: Inventory) -> dict[str, object]:
    return {"host": inventory.host, "origin": inventory.origin, "emulated": inventory.machine}


def _claimed(settings: Settings) -> dict[Uuid, str]:
    return dict(claims.described(claims.live(state_directory(settings))))


def _held(settings: Settings) -> dict[Uuid, str]:
    return {uuid: holds.described(having) for uuid, having in holds.held(state_directory(settings)).items()}


def _print_json(document: object) -> None:
    click.echo(json.dumps(document, indent=2))


def _say(sentence: str) -> None:
    click.echo(f"gpu-discover: {sentence}", err=True)
