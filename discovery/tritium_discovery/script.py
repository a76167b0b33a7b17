"""The entry of ``gpu-discover``: without arguments Spark's discovery script, with arguments the commands.

Spark starts it for every Worker or executor, so this path loads no command-line library.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tritium_discovery import claims, holds
from tritium_discovery.device import Device
from tritium_discovery.discover import Discovery, look
from tritium_discovery.environment import warnings
from tritium_discovery.errors import DiscoveryError
from tritium_discovery.process import ProcessId, nearest_jvm
from tritium_discovery.selection import choose, judge
from tritium_discovery.settings import Settings
from tritium_discovery.spark import Amount, command_line, find_amount, report
from tritium_discovery.state import state_directory

__all__ = ["answer", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``gpu-discover`` and return its exit code; the README lists them."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments:
        from tritium_discovery import cli

        return cli.main(arguments)
    try:
        sys.stdout.write(answer(os.environ) + "\n")
        sys.stdout.flush()
    except DiscoveryError as err:
        _say(str(err))
        return err.exit_code
    return 0


def answer(environ: Mapping[str, str]) -> str:
    """What Spark is told: exactly the devices that may be used, claimed for the JVM that asks.

    Raises:
        DiscoveryError: no device can be reported; each cause is a class of its own.
    """
    settings = Settings.from_env(environ)
    owner = nearest_jvm(os.getpid())
    amount = _amount(settings, environ, owner)
    seen = look(settings, topology=False)
    if seen.inventory.machine is not None:
        _say(f"these devices are emulated (TRITIUM_MACHINE={seen.inventory.machine})")
    if owner is None:
        _say("no JVM above this process, so nothing is claimed: others may be told the same devices")
        devices = choose(judge(seen.inventory, settings, claimed={}, held={}), amount)
    else:
        devices = _claim(seen, settings, owner, amount)
    for warning in warnings(devices, device_order=settings.device_order):
        _say(warning)
    return report(devices, seen.inventory)


def _amount(settings: Settings, environ: Mapping[str, str], owner: ProcessId | None) -> int | None:
    if settings.amount is not None:
        return settings.amount
    jvm = () if owner is None else command_line(owner.pid)
    found: Amount | None = find_amount(jvm=jvm, environ=environ, directory=Path.cwd())
    if found is None:
        _say(
            "neither TRITIUM_GPU_AMOUNT nor Spark says how many devices are wanted, "
            "so all that may be used are reported"
        )
        return None
    return found.count


def _claim(seen: Discovery, settings: Settings, owner: ProcessId, amount: int | None) -> tuple[Device, ...]:
    """Choose among the unclaimed devices and claim them in one step."""
    directory = state_directory(settings)
    holders = {uuid: str(holder) for uuid, holder in holds.held(directory).items()}

    def pick(live: tuple[claims.Claim, ...]) -> tuple[Device, ...]:
        taken = claims.described(live)
        return choose(judge(seen.inventory, settings, claimed=taken, held=holders), amount)

    claim = claims.make(
        pick, owner=owner, generation=seen.generation, directory=directory, timeout_s=settings.timeout_s
    )
    mine = {device.uuid for device in claim.devices}
    return tuple(device for device in seen.inventory.devices if device.uuid in mine)


def _say(sentence: str) -> None:
    # stderr is all that a Spark user ever sees of us, in the log of the Worker or executor.
    sys.stderr.write(f"gpu-discover: {sentence}\n")
