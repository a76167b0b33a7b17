"""Simulate traces of gangs: the assigner's policies beside Spark's order and a random choice.

The model is in ``simulation/model.py``. Run it as ``python tests/benchmarks/bench.py simulate``.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import mean, quantiles

from benchmarks.simulation.model import COMMUNICATION, HOSTS, JOBS, SEED, TRACES, WAYS, Seen, jobs, simulate
from benchmarks.simulation.plot import draw

COLUMNS: Mapping[str, Callable[[Seen], float]] = {
    "mean wait, s": lambda seen: mean(seen.waits),
    "p95 wait, s": lambda seen: quantiles(seen.waits, n=20)[-1],
    "mean wait and run, s": lambda seen: mean(seen.takes),
    "mean slowest link, GB/s": lambda seen: mean(seen.slowest_gbps),
    "cross-host hops per ring": lambda seen: mean(seen.hops),
    "free devices on broken hosts": lambda seen: seen.scattered / seen.idle,
    "one host asked, not got": lambda seen: seen.broken,
}
MORE_IS_BETTER = {"mean slowest link, GB/s"}
PEERS = ("Spark's order", "random")


def main() -> str:
    """Return the table as Markdown and draw the plot beside this file."""
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for name, trace in TRACES.items():
        todo = jobs(random.Random(SEED), trace)  # noqa: S311  # seeded on purpose
        seen = {
            way: simulate(choose, todo, cards_are_shared=trace.cards_are_shared)
            for way, choose in WAYS.items()
        }
        rows[name] = {way: {c: value(one) for c, value in COLUMNS.items()} for way, one in seen.items()}
        print(f"simulated: {name}", file=sys.stderr, flush=True)
    picture = Path(__file__).with_suffix(".svg")
    picture.write_text(draw(rows["calm"], more_is_better=MORE_IS_BETTER), encoding="utf-8")
    about = (
        f"{JOBS:,} gangs of 1 to 16 ranks on {HOSTS} hosts of 8 devices, seed {SEED}; communication is "
        f"{COMMUNICATION:.0%} of a gang's time over two NVLinks. ▼: ours loses to Spark's order or to random."
    )
    lines = [
        "### Placing a trace of gangs",
        "",
        about,
        "",
        f"| trace | way | {' | '.join(COLUMNS)} |",
        "|---" * (len(COLUMNS) + 2) + "|",
    ]
    for name, ways in rows.items():
        lines += [
            f"| {name if way == 'packed' else ''} | {way} | {' | '.join(cells(way, ways))} |" for way in ways
        ]
    lines += ["", *(f"- {name}: {trace.about}.{verdict(rows[name])}" for name, trace in TRACES.items()), ""]
    lines.append(f"![The four ways compared on the calm trace](tests/benchmarks/{picture.name})")
    return "\n".join(lines)


def loses(mine: Mapping[str, float], peer: Mapping[str, float], column: str) -> bool:
    """Whether a peer does better."""
    return mine[column] != peer[column] and (mine[column] < peer[column]) == (column in MORE_IS_BETTER)


def cells(way: str, ways: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Write one row, with a mark where ours loses."""
    peers = (ways[peer] for peer in PEERS) if way not in PEERS else ()
    lost = {column for peer in peers for column in COLUMNS if loses(ways[way], peer, column)}
    return [f"{value:,.2f}" + " ▼" * (column in lost) for column, value in ways[way].items()]


def verdict(ways: Mapping[str, Mapping[str, float]]) -> str:
    """Say where the default loses to Spark's order."""
    mine, peer = ways["packed"], ways["Spark's order"]
    lost = [f"{c} ({mine[c]:,.0f} to {peer[c]:,.0f})" for c in COLUMNS if loses(mine, peer, c)]
    return f" **packed loses to Spark's order in {', '.join(lost)}.**" if lost else ""


if __name__ == "__main__":
    sys.stdout.write(main() + "\n")
