"""Benchmark: one discovery as Spark starts it, beside a bare pynvml script and the tools that people know.

All read the same eight cards from the C library of tests/rigs/nvml, so this is the cost of the programs; a
real driver adds its own, the same to all. The peers are installed into ``.cache/peers``.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT / "tests"), str(_ROOT / "discovery")]

from rigs.jvm import COMMAND, FakeJvm  # noqa: E402 - the path is set above, as this runs as a program
from rigs.nvml.rig import environment  # noqa: E402 - as above

_ROUNDS = 21
_PEERS = _ROOT / ".cache" / "peers"
_WANTED = ("gpustat==1.1.1", "nvitop==1.7.2")
_BARE = """
import json
import pynvml
pynvml.nvmlInit()
devices = []
for index in range(pynvml.nvmlDeviceGetCount()):
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    devices.append({
        "address": index,
        "uuid": pynvml.nvmlDeviceGetUUID(handle),
        "pci_bus_id": pynvml.nvmlDeviceGetPciInfo(handle).busId,
        "product": pynvml.nvmlDeviceGetName(handle),
        "memory_mib": pynvml.nvmlDeviceGetMemoryInfo(handle).total >> 20,
    })
print(json.dumps({"name": "gpu", "addresses": [str(d["address"]) for d in devices], "devices": devices}))
"""


def main() -> None:
    """Measure in turns, so that a busy moment of the machine meets all, and print the table."""
    peers = _peers()
    with tempfile.TemporaryDirectory() as name, FakeJvm(Path(name)) as jvm:
        directory = Path(name)
        environ = {
            name: text
            for name, text in environment("dgx-a100", directory).items()
            if name
            != "PYTHONDONTWRITEBYTECODE"  # installed programs are compiled; ours may have just changed
        }
        bare: Sequence[str | Path] = [sys.executable, "-c", _BARE]
        contestants: Mapping[str, Sequence[str | Path]] = {
            "a bare pynvml script, the same JSON": bare,
            "**gpu-discover**, health and selection": [COMMAND],
            "nvisel (nvitop 1.7.2)": [peers / "nvisel"],
            "gpustat 1.1.1 --json": [peers / "gpustat", "--json"],
        }
        seconds: dict[str, list[float]] = {name: [] for name in (*contestants, _CLAIMED)}
        for turn in range(_ROUNDS):
            print(f"round {turn + 1} of {_ROUNDS}", file=sys.stderr)
            for contestant, command in contestants.items():
                seconds[contestant].append(_timed(command, environ))
            began = time.perf_counter()
            assert jvm.run({**environ, "TRITIUM_DIR": f"{directory}/{turn}"}).exit_code == 0
            seconds[_CLAIMED].append(time.perf_counter() - began)
    _print(seconds)


_CLAIMED = "**gpu-discover**, with the claim for a JVM"


def _timed(command: Sequence[str | Path], environ: Mapping[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def _print(seconds: Mapping[str, Sequence[float]]) -> None:
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    base = next(iter(medians.values()))
    print("### Discovery of eight devices, whole process\n")
    print("| program | median | times the bare script |\n|---|---|---|")
    for name, median in sorted(medians.items(), key=lambda item: item[1]):
        print(f"| {name} | {median * 1000:.0f} ms | {median / base:.2f} |")


def _peers() -> Path:
    """The peers' own environment."""
    programs = _PEERS / "bin"
    if not (programs / "nvisel").exists():
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, _PEERS], check=True)
        subprocess.run(
            [
                uv,
                "pip",
                "install",
                "--quiet",
                "--compile-bytecode",
                "--python",
                programs / "python",
                *_WANTED,
            ],
            check=True,
        )
    return programs


if __name__ == "__main__":
    main()
