"""Decides what a gang that was tried again has published wrongly: by a stale attempt, or by two."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tritium.store.disk import LocalDisk
from tritium.store.objects import Store
from tritium.store.pointer import Pointer
from tritium.train import book
from tritium.train.book import Book

__all__ = ["books", "stale", "wrong"]

_REFUSALS = frozenset({"StaleAttempt", "CannotPublish"})


def stale(folder: Path, values: Sequence[Any], *, token: str, attempt: int) -> list[str]:
    """List what is wrong with what a gang of the suite returned and, if it was tried again, kept."""
    found = [f"value {value}" for value in values if value[:2] != [token, attempt]]
    if attempt and values:
        found += wrong(books(folder / "kept"), [value[2] for value in values])
    refusals = {path.name.split("-")[-1] for path in folder.glob("refused-0-*")}
    found += [f"a stale attempt was not refused but got {name}" for name in sorted(refusals - _REFUSALS)]
    found += [f"the newest attempt got {path.name}" for path in sorted(folder.glob("refused-1-*"))]
    return found


def books(kept: Path) -> list[tuple[Book, dict[int, set[int]]]]:
    """Read all that the pointer to checkpoints ever said, and by step which attempts wrote its parts."""
    store = Store(kept, disk=LocalDisk())
    history = []
    for number in sorted(store.entries("checkpoints")):
        said = book.from_bytes(store.read("checkpoints", number))
        writers = {
            saved.step: {int((kept / "objects" / part / "attempt").read_text()) for part in saved.parts}
            for saved in said.saved
        }
        history.append((said, writers))
    assert Pointer(store, "checkpoints").read()[0] == len(history)
    return history


def wrong(history: Sequence[tuple[Book, dict[int, set[int]]]], firsts: Sequence[int]) -> list[str]:
    """List the moves of the pointer that no attempt may make, and ranks that did not go on at the last one.

    The attempts of a gang are 0, 1, ...; those of a book begin with 1.

    >>> wrong([(Book(attempt=1), {}), (Book(attempt=2), {})], firsts=[0, 0])
    []
    """
    found = []
    last = 0
    before: dict[int, set[int]] = {}
    for said, writers in history:
        new = {step: by for step, by in writers.items() if before.get(step) != by}
        found += [
            f"step {step} was published by attempts {sorted(by)} in the days of attempt {said.attempt - 1}"
            for step, by in new.items()
            if by != {said.attempt - 1}
        ]
        if said.attempt == 1 and said.saved:
            last = said.saved[-1].step
        before = writers
    if set(firsts) != {last}:
        found.append(f"ranks went on at {list(firsts)}, and the last complete checkpoint was {last}")
    return found
