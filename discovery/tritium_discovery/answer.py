"""What Spark's discovery script answers: the devices that may be used, claimed for the JVM that asks."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from tritium_discovery import claims, isolate
from tritium_discovery.environment import closed, warnings
from tritium_discovery.errors import DiscoveryError
from tritium_discovery.inventory import Seen
from tritium_discovery.look import Discovery, understand
from tritium_discovery.observation import Observation, Uuid
from tritium_discovery.process import ProcessId, nearest_jvm
from tritium_discovery.selection import choose, idle_words, judge
from tritium_discovery.settings import Settings
from tritium_discovery.spark import Amount, command_line, find_amount, report
from tritium_discovery.state import state_directory

__all__ = ["answer"]


def answer(environ: Mapping[str, str], asked: isolate.Asked) -> str:
    """What Spark is told: exactly the devices that may be used. ``asked`` is the driver, already.

    Raises:
        DiscoveryError: no device can be reported; each cause is a class of its own.
    """
    owner = nearest_jvm()
    try:
        settings = Settings.from_env(environ)
        amount = _amount(settings, environ, owner)
        directory = state_directory(settings)
    except DiscoveryError:
        isolate.leave(asked)
        raise
    observation = cast("Observation", isolate.answer(asked, timeout_s=settings.timeout_s))
    if amount is None:
        _say(
            "neither TRITIUM_GPU_AMOUNT nor Spark says how many devices are wanted, "
            "so all that may be used are reported"
        )
    found = understand(observation, settings, directory)
    machine = observation.machine
    if machine is not None:
        _say(f"these devices are emulated (TRITIUM_MACHINE={machine})")
    if observation.refused:
        _say(closed(observation.refused))
    for words in idle_words(found.devices, settings):
        _say(words)
    if owner is None:
        _say("no JVM above this process, so nothing is claimed: others may be told the same devices")
        devices = choose(
            judge(found.devices, settings, claimed={}, held={}), amount, visible=settings.visible
        )
    else:
        devices = _claim(found, settings, owner, amount, directory)
    for warning in warnings(devices, device_order=settings.device_order):
        _say(warning)
    return report(devices, machine=machine)


def _amount(settings: Settings, environ: Mapping[str, str], owner: ProcessId | None) -> int | None:
    if settings.amount is not None:
        return settings.amount
    jvm = () if owner is None else command_line(owner.pid)
    found: Amount | None = find_amount(jvm=jvm, environ=environ, directory=Path())
    return None if found is None else found.devices


def _claim(
    found: Discovery, settings: Settings, owner: ProcessId, amount: int | None, directory: Path
) -> tuple[Seen, ...]:
    """Choose among the unclaimed devices and claim them in one step."""
    holders = _holders(directory) if any(device.processes for device in found.devices) else {}

    def pick(live: tuple[claims.Claim, ...]) -> tuple[Seen, ...]:
        taken = claims.described(live)
        return choose(
            judge(found.devices, settings, claimed=taken, held=holders), amount, visible=settings.visible
        )

    claim = claims.make(
        pick,
        owner=owner,
        generation=found.generation,
        directory=directory,
        machine=found.observation.machine,
        timeout_s=settings.timeout_s,
    )
    mine = {device.uuid for device in claim.devices}
    return tuple(device for device in found.devices if device.uuid in mine)


def _holders(directory: Path) -> Mapping[Uuid, str]:
    """Who vouches for processes on a card; looked up only when there are some."""
    from tritium_discovery import holds

    return {uuid: holds.described(having) for uuid, having in holds.held(directory).items()}


def _say(sentence: str) -> None:
    # stderr is all that a Spark user ever sees of us, in the log of the Worker or executor.
    sys.stderr.write(f"gpu-discover: {sentence}\n")
