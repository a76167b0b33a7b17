"""The entry of ``gpu-discover``: without arguments Spark's discovery script, with arguments the commands.

Spark starts it anew for every Worker and executor, so it must start fast: the driver is asked by a child at
once, and everything else is loaded while that goes on. No command-line library is.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tritium_discovery import isolate
from tritium_discovery.errors import DiscoveryError, Unwritten
from tritium_discovery.probe import probe_of
from tritium_discovery.sysfs import SYSFS

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``gpu-discover`` and return its exit code; the README lists them."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments:
        from tritium_discovery import cli

        return cli.main(arguments)
    gc.disable()  # looking for garbage, of which there is none yet, takes a tenth of the time to start
    asked = isolate.ask(_observe)
    try:
        from tritium_discovery.answer import answer

        _print(answer(os.environ, asked))
    except DiscoveryError as err:
        sys.stderr.write(f"gpu-discover: {err}\n")
        return err.exit_code
    except KeyboardInterrupt:  # at whatever point: the child may never end by itself
        isolate.leave(asked)
        return 130
    return 0


def _print(said: str) -> None:
    """Not through sys.stdout, which is missing when it is closed and fails a second time when Python ends."""
    text = f"{said}\n".encode()
    try:
        while text:
            text = text[os.write(1, text) :]
    except OSError as err:
        raise Unwritten(f"the answer cannot be written: {err.strerror}") from err


def _observe() -> object:
    """Runs in the child. Wrong settings are the parent's to complain of."""
    machine, probe, sysfs = (
        os.environ.get(f"TRITIUM_{name}", "").strip() for name in ("MACHINE", "PROBE", "SYSFS")
    )
    asked = probe_of(machine=machine, probe=probe, sysfs=Path(sysfs) if sysfs else SYSFS)
    return asked.observe(topology=False, known=None)
