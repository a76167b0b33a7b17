"""The kill table: who was killed in the middle of a batch, how often, and what each sink then had.

``python tests/soaks/kills.py [ROUNDS]`` from the repository's root; its short form is a test.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from rigs.kafka import broker
from streams.killing import Found, killed_once

_SENT = 300


def main(rounds: int) -> str:
    """Kill, count, and return a Markdown table."""
    found: dict[tuple[str, str], list[Found]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {"TRITIUM_DIR": str(folder / "state")}
        (folder / "state").mkdir(mode=0o700)
        with broker(folder / "kafka") as kafka:
            for at in range(rounds):
                for victim in ("driver", "executor"):
                    run = f"{victim}-{at}"
                    ones = killed_once(
                        kafka, victim, folder=folder / run, topic=run, sent=_SENT, environment=environment
                    )
                    for one in ones:
                        found[victim, one.sink].append(one)
                    print(run, ones, file=sys.stderr, flush=True)
    rows = ["| killed | times | sink | sent | lost | twice | twice, by id |", "|---|---|---|---|---|---|---|"]
    for (victim, sink), ones in found.items():
        sent, lost, twice = (sum(getattr(one, what) for one in ones) for what in ("sent", "lost", "twice"))
        unseen = sum(one.ids - one.distinct for one in ones)
        rows.append(f"| {victim} | {len(ones)} | {sink} | {sent} | {lost} | {twice} | {unseen} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
