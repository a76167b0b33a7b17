"""The first thing that support asks for: what is right and wrong about discovery here, with remedies."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from tritium_discovery import claims, holds
from tritium_discovery.environment import closed
from tritium_discovery.errors import BadSetting, DiscoveryError
from tritium_discovery.failure import LOST
from tritium_discovery.look import Discovery, look
from tritium_discovery.observation import Failed
from tritium_discovery.process import nearest_jvm
from tritium_discovery.selection import idle_words
from tritium_discovery.settings import VARIABLES, Settings
from tritium_discovery.spark import command_line, find_amount, find_script
from tritium_discovery.state import SHARED, state_directory
from tritium_discovery.sysfs import NVIDIA, accelerators

__all__ = ["Check", "examine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at."""

    subject: str
    """E.g. ``driver``."""
    state: Literal["ok", "note", "bad"]
    sentence: str
    """What was found, and what to do about it."""
    exit_code: int = 0
    """Of the failure behind a bad state."""


def examine(environ: Mapping[str, str], cwd: Path) -> Iterator[Check]:
    """Look at everything, going on after what is broken."""
    yield _ok("version", f"Tritium {metadata.version('tritium')}, Python {platform.python_version()}")
    try:
        settings = Settings.from_env(environ)
    except BadSetting as err:
        yield _bad("settings", err)
        return
    yield _settings(environ)
    yield _emulation(settings)
    if settings.machine is None:
        yield _permissions(Path("/dev"))
    yield from _directory(settings)
    yield from _driver(settings)
    if settings.machine is None:
        yield from _other_vendors(settings)
    yield from _spark(settings, environ, cwd)


def _ok(subject: str, sentence: str) -> Check:
    return Check(subject=subject, state="ok", sentence=sentence)


def _note(subject: str, sentence: str) -> Check:
    return Check(subject=subject, state="note", sentence=sentence)


def _bad(subject: str, err: DiscoveryError) -> Check:
    return Check(subject=subject, state="bad", sentence=str(err), exit_code=err.exit_code)


def _settings(environ: Mapping[str, str]) -> Check:
    """Those that are set, as a name with a slip in it has no effect and nobody else says so."""
    given = [f"{name}={environ[name]}" for name in VARIABLES if name in environ]
    if not given:
        return _ok("settings", "none: everything is as by default")
    return _ok("settings", ", ".join(given))


def _emulation(settings: Settings) -> Check:
    if settings.machine is None:
        return _ok("emulation", "off: the driver is asked")
    return _note("emulation", f"on: machine {settings.machine}; unset TRITIUM_MACHINE to ask the driver")


def _permissions(dev: Path) -> Check:
    cards = sorted(dev.glob("nvidia[0-9]*"))
    nodes = cards + [path for path in [dev / "nvidiactl"] if path.exists()]
    if not cards:  # nvidiactl alone says nothing: the library makes it when root asks, driver or not
        return _note(
            "device nodes", f"there is no {dev}/nvidia0: no driver, or this container was given no GPU"
        )
    refused = [str(node) for node in nodes if not os.access(node, os.R_OK | os.W_OK)]
    if refused:
        return _note("device nodes", f"{', '.join(refused)} may not be opened: join the group that may")
    return _ok("device nodes", f"{len(nodes)} may be opened")


def _directory(settings: Settings) -> Iterator[Check]:
    try:
        directory = state_directory(settings)
        live, held = claims.live(directory), holds.held(directory)
    except DiscoveryError as err:
        yield _bad("state directory", err)
        return
    if directory == SHARED:
        yield _ok("state directory", f"{directory}, shared by all users")
    else:
        yield _note(
            "state directory",
            f"{directory}, of user {directory.stat().st_uid} alone: other users' claims are not seen; "
            f"as root: install -d -m 1777 {SHARED}",
        )
    yield _ok("claims and holds", f"{len(live)} claims, {len(held)} devices held")


def _driver(settings: Settings) -> Iterator[Check]:
    try:
        seen = look(settings)
    except DiscoveryError as err:
        yield _bad("driver", err)
        return
    observation = seen.observation
    if observation.origin == "sysfs":
        yield _note("driver", "not asked (TRITIUM_PROBE=sysfs): devices are listed and none is given out")
        return
    yield _ok("driver", f"{observation.driver}, NVML {observation.nvml}, CUDA {observation.cuda}")
    if observation.unseen:
        yield _note(
            "PCI bus", f"NVML does not list {', '.join(observation.unseen)}: not this container's, or lost"
        )
    if observation.refused:
        yield _note("permissions", closed(observation.refused))
    for words in idle_words(seen.devices, settings):
        yield _note("settings", words)
    yield from _devices(seen)


def _other_vendors(settings: Settings) -> Iterator[Check]:
    for device in accelerators(settings.sysfs):
        if device.vendor != NVIDIA:
            yield _note(
                "PCI bus", f"{device.bus_id} is of vendor {device.vendor:04x}, which is only listed so far"
            )


def _devices(seen: Discovery) -> Iterator[Check]:
    for device in seen.devices:
        subject = f"device {device.address}"
        if not device.troubles:
            yield _ok(subject, f"{device.product} {device.uuid} on {device.pci_bus_id}")
        else:
            lost = device.product == "unknown"  # and then nothing else is known of it either
            which = "" if lost else f" ({device.product} {device.uuid} on {device.pci_bus_id})"
            sentence = f"{'; '.join(device.troubles)}{which}"
            yield Check(subject=subject, state="bad", sentence=sentence, exit_code=17)
    failed = {
        str(reading)
        for card in seen.observation.cards
        for reading in (card.recovery, card.processes, card.temperature_c)
        if isinstance(reading, Failed) and reading.code not in LOST
    }
    for text in sorted(failed):
        yield _note("readings", f"{text}: rules that need it are silent")
    asleep = sum(card.persistence is False for card in seen.observation.cards)
    if asleep:
        yield _note(
            "persistence",
            f"off on {asleep} of {len(seen.observation.cards)} cards, so each run pays 1 to 3 s to wake one: "
            "start nvidia-persistenced, or nvidia-smi -pm 1",
        )


def _spark(settings: Settings, environ: Mapping[str, str], cwd: Path) -> Iterator[Check]:
    owner = nearest_jvm()
    jvm = () if owner is None else command_line(owner.pid)
    try:
        amount = find_amount(jvm=jvm, environ=environ, directory=cwd)
        script = find_script(jvm=jvm, environ=environ, directory=cwd)
    except BadSetting as err:
        yield _bad("Spark", err)
        return
    if settings.amount is not None:
        yield _ok("amount", f"{settings.amount} (TRITIUM_GPU_AMOUNT)")
    elif amount is not None:
        yield _ok("amount", f"{amount.devices} ({amount.where})")
    else:
        yield _note(
            "amount", "said nowhere: all usable devices are reported; set TRITIUM_GPU_AMOUNT in spark-env.sh"
        )
    if script is None:
        yield _note("discovery script", "not set in the Spark configuration seen from here")
    elif os.access(script, os.X_OK) and Path(script).is_file():
        yield _ok("discovery script", script)
    else:
        sentence = f"{script} is no executable file; Spark wants a path without options"
        yield Check(
            subject="discovery script", state="bad", sentence=sentence, exit_code=BadSetting.exit_code
        )
