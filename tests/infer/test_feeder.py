"""A task's feeding, with owners that are threads of the test: what they are given, and what is waited for."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rigs.processes import eventually
from tritium.infer.feeder import Fed, Feeder
from tritium.infer.link import Link
from tritium.infer.lodging import Owner
from tritium.infer.memory import Memory, read, view_of
from tritium.infer.serving import Answer
from tritium.infer.words import Said


class Owners:
    """One after the other, each answers so many batches, doubled, and is gone."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.without_memory: list[int] = []
        """Places of batches that came to an owner which had never got their memory."""

    def find(self) -> Owner:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        threading.Thread(target=self._serve, args=(Link(theirs), self.answers.pop(0)), daemon=True).start()
        return Owner(link=Link(ours), pid=-1, devices=(), host="h", executor="executor 0", knows=False)

    def _serve(self, link: Link, count: int) -> None:
        views: dict[int, memoryview] = {}
        answers: dict[int, Memory] = {}
        for _ in range(count):
            try:
                (slot, rows, where, _), descriptors = link.receive()
            except (EOFError, OSError):
                break
            for descriptor in descriptors:
                views[slot] = view_of(descriptor)
            if slot not in views:
                self.without_memory.append(slot)
                break
            doubled = 2 * read(views[slot], where)["x"]
            assert len(doubled) == rows
            memory = answers.setdefault(slot, Memory())
            at, grown = memory.write(Answer(values={"y": doubled}, predict_s=0.0, most=None))
            link.send(("answer", Said(slot=slot, where=at)), [memory.fileno] if grown else [])
        link.close()


def feed(batches: int, before: Callable[[], None] = lambda: None) -> Iterator[Fed]:
    for number in range(batches):
        before()
        yield Fed(batch=number, columns={"x": np.full(5, number)}, rows=5)


def test_places_that_were_free_while_an_owner_went_are_made_known_to_the_next() -> None:
    owners = Owners(4, 100)

    answers = Feeder(owners.find, ahead=3, limit_s=60).answers(feed(12, before=lambda: time.sleep(0.02)))
    found = [answered.answer.values["y"].tolist() for answered in answers if answered.answer is not None]

    assert not owners.without_memory
    assert found == [[2 * number] * 5 for number in range(12)]


def test_batches_without_a_good_row_are_not_read_ahead_without_end_and_reading_ends_with_the_task() -> None:
    made, closed = 0, threading.Event()

    def all_bad() -> Iterator[Fed]:
        nonlocal made
        try:
            while True:
                made += 1
                yield Fed(batch=made, columns=None, rows=0)
        finally:
            closed.set()

    answers: Any = Feeder(Owners(1).find, ahead=3, limit_s=60).answers(all_bad())
    next(answers)
    time.sleep(0.3)

    # One is taken, three wait, and one more is ready.
    assert made == 5
    answers.close()
    eventually(closed.is_set, limit_s=10)
