"""Inject every fault of the full suite, print what came of it, and fail if anything was left behind.

    python tests/faults/soak.py [FOLDER]

Each outcome is appended to FOLDER/outcomes.jsonl as it is known.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.kinds import every
from faults.suite import Outcome, Suite

__all__ = ["main", "table"]


def table(outcomes: Iterable[Outcome]) -> str:
    """Sum outcomes up by who was hit and how."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.fault.who, outcome.fault.kind), []).append(outcome)
    lines = [
        "| who | what | faults | named | orphans | holds left | double bookings | stale results | gone, s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    everything = [outcome for group in groups.values() for outcome in group]
    for (who, what), group in [*groups.items(), (("all", ""), everything)]:
        named = sum(outcome.named for outcome in group)
        counts = [sum(getattr(o, name) for o in group) for name in ("orphans", "holds", "doubles", "stale")]
        times = sorted(outcome.gone_s for outcome in group)
        numbers = " | ".join(map(str, (len(group), named, *counts)))
        middle = times[len(times) // 2]
        lines.append(f"| {who} | {what} | {numbers} | {middle:.1f}, at most {times[-1]:.1f} |")
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """Run the suite in an order of its own each time; returns 1 if a fault had consequences."""
    folder = Path(argv[1]) if len(argv) > 1 else Path(tempfile.mkdtemp(prefix="faults-"))
    (folder / "state").mkdir(mode=0o700, parents=True, exist_ok=True)
    faults = list(every())
    # Those that end the application come last, so that most are injected into one that has seen many.
    random.shuffle(faults)
    faults.sort(key=lambda fault: fault.who.startswith("driver") and fault.kind == "kill")
    suite, outcomes = Suite(folder), []
    try:
        for number, fault in enumerate(faults):
            outcomes.append(outcome := suite.inject(fault))
            with (folder / "outcomes.jsonl").open("a") as record:
                record.write(json.dumps(asdict(outcome)) + "\n")
            verdict = "ok" if outcome.good else f"WRONG: {outcome}"
            print(f"{number + 1}/{len(faults)} {fault}: {verdict}", file=sys.stderr, flush=True)
    finally:
        suite.close()
        print(table(outcomes))
    return int(not all(outcome.good for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv))
