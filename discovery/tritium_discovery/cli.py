"""The commands of ``gpu-discover``: they parse and print, and nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict

import click

from tritium_discovery.device import Device, Inventory
from tritium_discovery.discover import discover
from tritium_discovery.errors import DiscoveryError
from tritium_discovery.settings import Settings

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code: 0, 2 for bad usage, else that of the failure."""
    try:
        gpu_discover.main(list(arguments), prog_name="gpu-discover", standalone_mode=False)
    except click.ClickException as err:
        err.show()
        return err.exit_code
    except DiscoveryError as err:
        click.echo(f"gpu-discover: {err}", err=True)
        return err.exit_code
    return 0


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def gpu_discover() -> None:
    """Which devices does this host have, and may they be used?

    Without a command this is Spark's discovery script; it is configured by the environment alone.
    """


_output = click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)


@gpu_discover.command("list")
@_output
def list_(output: str) -> None:
    """All devices that this process sees, healthy or not."""
    inventory = discover(Settings.from_env(os.environ))
    if output == "json":
        click.echo(json.dumps(_document(inventory), indent=2))
        return
    if inventory.machine is not None:
        click.echo(f"emulated machine {inventory.machine}: no real device")
    rows: list[tuple[str, ...]] = [("ADDR", "UUID", "PCI", "PRODUCT", "MIB", "FREE", "CC", "NUMA", "HEALTH")]
    rows += [_row(device) for device in inventory.devices]
    click.echo(table(rows))


def _row(device: Device) -> tuple[str, ...]:
    return (
        str(device.address),
        device.uuid,
        device.pci_bus_id,
        device.product,
        str(device.memory_mib),
        str(device.free_mib),
        ".".join(map(str, device.capability)),
        "-" if device.numa_node is None else str(device.numa_node),
        "ok" if device.healthy else "; ".join(device.troubles),
    )


def _document(inventory: Inventory) -> dict[str, object]:
    return {
        "host": inventory.host,
        "origin": inventory.origin,
        "emulated": inventory.machine,
        "devices": [asdict(device) for device in inventory.devices],
    }


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, two spaces apart.

    >>> print(table([("A", "B"), ("long", "x")]))
    A     B
    long  x
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
