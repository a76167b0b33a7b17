"""Run every benchmark of this folder, each against its peer in one run, and put the tables into the README.

A benchmark is a program that prints Markdown on stdout and progress on stderr. `make bench` runs all
of them; name some to run only those: `python tests/benchmarks/bench.py assign`.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).parent
_README = _HERE.parents[1] / "README.md"
_BEGIN, _END = "<!-- benchmarks: made by `make bench` -->", "<!-- end of benchmarks -->"
_LIMIT_S = 3600


def main(names: list[str]) -> int:
    """Run the benchmarks and rewrite their part of the README; 1 if one of them failed."""
    programs = sorted(path for path in _HERE.glob("*.py") if path != Path(__file__))
    chosen = [path for path in programs if not names or path.stem in names]
    tables, failed = [], 0
    for path in chosen:
        print(f"== {path.stem}", file=sys.stderr, flush=True)
        run = subprocess.run(
            [sys.executable, str(path)],
            stdout=subprocess.PIPE,
            text=True,
            timeout=_LIMIT_S,
            check=False,
            env={**os.environ, "PYTHONPATH": str(_HERE.parent)},
        )
        print(run.stdout, flush=True)
        failed += run.returncode != 0
        tables.append(run.stdout.strip())
    if not names and not failed:
        _write("\n\n".join(filter(None, tables)))
    return int(failed > 0)


def _write(tables: str) -> None:
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    where = f"Measured on {machine}, without a GPU."
    before, _, rest = _README.read_text().partition(_BEGIN)
    after = rest.partition(_END)[2]
    _README.write_text(f"{before}{_BEGIN}\n{where}\n\n{tables}\n{_END}{after}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
