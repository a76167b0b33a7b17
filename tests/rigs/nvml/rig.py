"""Rig: NVML as a C library over any machine file, loaded by the unmodified pynvml through LD_LIBRARY_PATH.

The machine files that the emulated probe reads are rendered to a flat table for C, so both answer from
one model; the kernel's list of PCI devices comes from it too. Needs a C compiler and NVIDIA's ``nvml.h``;
what was compiled is kept in ``.cache/nvml``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, files
from itertools import count
from pathlib import Path

from tritium_discovery.emulate import ancestor, linked, nvlinks
from tritium_discovery.machine import Machine, MachineCard, load

__all__ = ["SOURCES", "environment", "header", "library", "table"]

SOURCES = tuple(Path(__file__).with_name(name) for name in ("machine.c", "nvml.c", "links.c"))
"""Of the library in C."""
_CACHE = Path(__file__).resolve().parents[3] / ".cache" / "nvml"
_CPU_WORDS = 16
_NO_LIBRARY = 12


def environment(machine: str | Machine, directory: Path) -> Mapping[str, str]:
    """The variables under which a fresh process finds this machine below pynvml.

    They replace the caller's own GPU variables; ``directory`` takes the table and the state of a test.
    """
    model = load(machine) if isinstance(machine, str) else machine
    written = directory / f"{model.name}.table"
    lines = "".join(f"{line}\n" for line in table(model))
    written.write_text(
        lines, encoding="utf-8", errors="surrogateescape"
    )  # a dying card answers with any bytes
    state = directory / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    clean = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("TRITIUM_", "CUDA_", "SPARK_", "COV_", "COVERAGE_"))
    }
    _write_sysfs(model, directory / "sys")
    where = directory if model.init == _NO_LIBRARY else library(model.missing)
    return clean | {
        "LD_LIBRARY_PATH": str(where),
        "TRITIUM_NVML_TABLE": str(written),
        "TRITIUM_DIR": str(state),
        "TRITIUM_SYSFS": str(directory / "sys"),
    }


def _write_sysfs(machine: Machine, root: Path) -> None:
    """The kernel's list of PCI devices: all cards, those that NVML does not list too, and nothing else."""
    shutil.rmtree(root, ignore_errors=True)
    files = {
        "class": "0x030200",
        "vendor": "0x10de",
        "device": "0x20b0",
        "numa_node": "-1",
        "local_cpulist": "",
    }
    found = dict.fromkeys(machine.unseen, files) | {
        card.bus: files | {"numa_node": str(card.numa), "local_cpulist": card.cpus} for card in machine.cards
    }
    for bus, texts in found.items():
        folder = root / "bus/pci/devices" / bus.lower()[4:]
        folder.mkdir(parents=True)
        for name, text in texts.items():
            (folder / name).write_text(f"{text}\n", encoding="ascii")


def header() -> Path | None:
    """NVIDIA's own declaration of NVML, from the package ``nvidia-nvml-dev``."""
    with suppress(PackageNotFoundError):
        for path in files("nvidia-nvml-dev") or ():
            if path.name == "nvml.h":
                return Path(str(path.locate()))
    return None


def library(missing: Iterable[str] = ()) -> Path:
    """The folder of a ``libnvidia-ml.so.1`` without the ``missing`` symbols, as an older driver's is."""
    declared = header()
    assert declared is not None, "tests/conftest.py asks for it"
    hidden = "".join(f"{symbol};" for symbol in sorted(missing))
    script = f"{{ global: nvml*; local: {hidden} *; }};\n"
    texts = (path.read_bytes() for path in (*SOURCES, SOURCES[0].with_name("machine.h"), declared))
    key = hashlib.sha256(b"".join(texts) + script.encode()).hexdigest()[:16]
    folder = _CACHE / key
    if folder.is_dir():
        return folder
    _CACHE.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=_CACHE))
    (draft / "exports").write_text(script, encoding="ascii")
    subprocess.run(
        [os.environ.get("CC", "cc"), "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC",
         "-isystem", declared.parent, "-Wl,--version-script=exports", *SOURCES, "-lpthread",
         "-o", "libnvidia-ml.so.1"],
        cwd=draft,
        check=True,
    )  # fmt: skip
    try:
        draft.rename(folder)
    except OSError:  # another test run was first
        shutil.rmtree(draft)
    return folder


def table(machine: Machine) -> Iterator[str]:
    """The machine as C reads it: one fact per line, a card's number or -1 first."""
    major, _, minor = machine.cuda.partition(".")
    yield f"-1 cards {len(machine.cards)}"
    yield f"-1 init {machine.init}"
    yield f"-1 driver {machine.driver}"
    yield f"-1 nvml {machine.nvml}"
    yield f"-1 cuda {int(major) * 1000 + int(minor or 0) * 10}"
    yield f"-1 protected {int(machine.driver.startswith(('535.43', '535.54', '535.86')))}"
    yield f"-1 vanish_after {machine.vanish_after}"
    yield f"-1 reorder {int(machine.reorder)}"
    if machine.order:
        yield f"-1 order {' '.join(map(str, machine.order))}"
    yield from (f"-1 hang {call}" for call in machine.hang)
    yield from (f"-1 fault {call} {code}" for call, code in machine.fail.items())
    for index, card in enumerate(machine.cards):
        yield from (f"{index} {line}" for line in _card(machine, card))


def _card(machine: Machine, card: MachineCard) -> Iterator[str]:
    yield f"uuid {card.uuid}"
    yield f"bus {card.bus}"
    yield f"name {card.product}"
    yield f"memory {-1 if card.memory_mib is None else card.memory_mib} {card.used_mib}"
    yield f"capability {card.capability[0]} {card.capability[1]}"
    yield f"numa {card.numa}"
    yield f"cpus {_mask(card.cpus)}"
    yield f"mig {int(card.mig)} {int(card.mig_pending)} {card.mig_max}"
    yield f"ecc {card.ecc_errors}"
    yield f"remapped {' '.join(str(int(part)) for part in card.remapped)}"
    yield f"retirement {int(card.retirement_pending)}"
    yield f"recovery {card.recovery}"
    yield f"celsius {card.temperature_c}"
    yield f"vgpu {int(card.vgpu)}"
    yield f"old {int(card.capability < (8, 0))}"
    yield f"lost_after {card.lost_after}"
    yield from (f"pid {pid}" for pid in card.processes)
    yield from (f"fault {call} {code}" for call, code in card.fail.items())
    yield f"persistence {int(card.persistence)}"
    numbers = (number for number in count() if number not in card.nvlink_gaps)
    for number, link in zip(numbers, nvlinks(machine, card), strict=False):
        yield f"link {number} {link.remote_bus_id} {int(link.to_switch)}"
    for other, peer in enumerate(machine.cards):
        if peer != card:
            yield f"pair {other} {int(ancestor(card.pcie, peer.pcie))} {int(linked(machine, card, peer))}"
    for part in card.instances:
        name = f"{card.product} MIG {part.profile}"
        yield f"instance {part.slot} {part.slot + 7} 0 {part.memory_mib} {part.uuid} {name}"
        yield from (f"instance_pid {pid}" for pid in part.processes)


def _mask(cpus: str) -> str:
    """CPUs as the words of ``nvmlDeviceGetCpuAffinity``.

    >>> _mask("0-3,64").split()[:3]
    ['f', '1', '0']
    """
    numbers: Sequence[int] = [
        number
        for run in cpus.split(",")
        if run
        for number in range(int(run.partition("-")[0]), int(run.rpartition("-")[2]) + 1)
    ]
    words = [
        sum(1 << number % 64 for number in numbers if number // 64 == word) for word in range(_CPU_WORDS)
    ]
    return " ".join(f"{word:x}" for word in words)
