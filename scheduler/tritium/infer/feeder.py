"""Edge in a task: feed an owner with batches ahead of its answers, and outlive it.

One thread reads, decodes, preprocesses and writes batches into shared memory, at most ``ahead`` of them;
the task's own thread takes the answers in the same order. If the owner dies or leaves, another is found
and gets again what was not answered, which still lies in this task's memory.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from tritium.errors import CannotHold
from tritium.infer.failure import Broken
from tritium.infer.forms import copied
from tritium.infer.lodging import Owner
from tritium.infer.memory import read, view_of
from tritium.infer.parts import Bad
from tritium.infer.search import Search
from tritium.infer.serving import Answer
from tritium.infer.slot import Slot
from tritium.infer.vigil import Vigil
from tritium.infer.words import Said

__all__ = ["Answered", "Fed", "Feeder"]

_MOST_DEATHS = 3
"""So often in a row may an owner die over the same batch."""
_HOPELESS = 16
"""So many owners in a row may break, and answer nothing, until no row is to blame."""
_LOOK_S = 0.5

Find: TypeAlias = Callable[[], Owner]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fed:
    """One batch made ready for the model."""

    batch: Any
    """The rows as Spark delivered them."""
    columns: Any
    """What the model gets; ``None`` when no row is left for it."""
    rows: int
    """How many rows of it are in ``columns``."""
    bad: tuple[Bad, ...] = ()
    """The others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One batch and what the model said to it; its arrays are overwritten when the next one is asked for."""

    fed: Fed
    answer: Answer | None
    said: Said | None


_Entry: TypeAlias = tuple[Fed, Slot | None] | BaseException | None


class Feeder:
    """One task's stream of batches through an owner.

    Args:
        find: finds an owner, or starts one.
        ahead: batches that may be on their way.
        limit_s: how long a call of the model may take; an owner that is silent for longer is ended.
    """

    def __init__(self, find: Find, *, ahead: int, limit_s: float) -> None:
        self._find = find
        self.owner: Owner = find()
        self._came = time.monotonic()
        self.load_s = 0.0
        """Seconds until the model was there."""
        self.full_s = 0.0
        """Seconds that batches were ready and there was no place for them."""
        self.copy_s = 0.0
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for number in range(ahead):
            self._free.put(Slot(number=number))
        # Bounded for those that need no place: no row of them is left for the model.
        self._ready: queue.Queue[_Entry] = queue.Queue(maxsize=ahead)
        self._offered: list[Slot] = []
        self._broken: Broken | None = None
        """Why the owner broke over this task's batch, from when it says so until that is heeded."""
        self._begun = False
        """Whether the owner has said that it predicts a batch of this task, which it does one by one."""
        self._fruitless = 0
        """How many owners have broken since one last answered."""
        self._vigil = Vigil(limit_s)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._deaths = 0

    def answers(self, feed: Iterable[Fed]) -> Iterator[Answered]:
        """Feed everything, and yield the answers in the order of the rows.

        Raises:
            Failure: the user's code failed; `Broken` if more owners than make sense broke over a batch.
            CannotHold: no owner could be had, or owners died over the same batch again and again.
            Exception: whatever ``feed`` raised.
        """
        reader = threading.Thread(target=self._read, args=(feed,), name="tritium-feed", daemon=True)
        reader.start()
        try:
            while (entry := self._ready.get()) is not None:
                if isinstance(entry, BaseException):
                    raise entry
                fed, slot = entry
                yield self._answered(fed, slot)
                if slot is not None:
                    self._free.put(slot)
        finally:
            self._over.set()
            self.owner.link.close()

    def _read(self, feed: Iterable[Fed]) -> None:
        """Be the other thread: it ends when there is no more, or when nobody wants more."""
        try:
            for fed in feed:
                slot = None
                if fed.columns is not None:
                    if (slot := self._place()) is None:
                        return
                    self._put(fed, slot)
                if not self._hand((fed, slot)):
                    return
        except BaseException as err:  # noqa: BLE001  the task's own thread raises it
            self._hand(err)
        else:
            self._hand(None)

    def _hand(self, entry: _Entry) -> bool:
        """Pass something on to the task's own thread; returns whether it still wants anything."""
        while not self._over.is_set():
            try:
                self._ready.put(entry, timeout=_LOOK_S)
            except queue.Full:
                continue
            return True
        return False

    def _place(self) -> Slot | None:
        began = time.monotonic()
        while not self._over.is_set():
            try:
                slot = self._free.get(timeout=_LOOK_S)
            except queue.Empty:
                continue
            self.full_s += time.monotonic() - began
            return slot
        return None

    def _put(self, fed: Fed, slot: Slot) -> None:
        began = time.monotonic()
        slot.write(fed.columns, fed.rows)
        self.copy_s += time.monotonic() - began
        with self._lock:
            self._offered.append(slot)
            self._offer(slot)

    def _offer(self, slot: Slot) -> None:
        """Send a batch; if the owner has gone, the task's own thread notices and offers it to the next."""
        with contextlib.suppress(OSError):
            slot.offer(self.owner)

    def _answered(self, fed: Fed, slot: Slot | None) -> Answered:
        if slot is None:
            return Answered(fed=fed, answer=None, said=None)
        while (heard := self._heard()) is None and self._broken is None:
            self._move()
        answer, said = self._searched(slot) if heard is None else (self._taken(slot, heard), heard)
        with self._lock:
            self._offered.remove(slot)
        return Answered(fed=fed, answer=answer, said=said)

    def _taken(self, slot: Slot, said: Said) -> Answer:
        if said.failure is not None:
            raise said.failure
        self._deaths, self._fruitless, self._begun = 0, 0, False
        assert slot.answers is not None  # noqa: S101  it came with the answer
        answer: Answer = read(slot.answers, said.where)
        return answer

    def _searched(self, slot: Slot) -> tuple[Answer, Said | None]:
        """Ask one owner after the other for parts of a batch that breaks them; the others wait meanwhile."""
        search, last = Search(slot.rows), None
        with self._lock:
            while (rows := search.asks) is not None:
                if self._broken is not None:
                    self._broke(search)
                    continue
                with contextlib.suppress(OSError):
                    slot.offer(self.owner, rows)
                if (said := self._heard()) is not None:
                    answer = self._taken(slot, said)
                    search.answered(replace(answer, values=copied(answer.values)))
                    last = said
                elif self._broken is None:
                    self._next()
            for other in self._offered:
                if other is not slot:
                    self._offer(other)
        answer = search.answer()
        return answer, replace(last, predict_s=answer.predict_s) if last is not None else None

    def _broke(self, search: Search) -> None:
        """Go on after an owner that broke, as it has said; that says nothing against the next one."""
        assert self._broken is not None  # noqa: S101  the caller has looked
        broken, self._broken, self._deaths = self._broken, None, -1
        self._fruitless += 1
        if self._fruitless > _HOPELESS:
            raise broken
        search.broke(broken)
        self._next()

    def _heard(self) -> Said | None:
        """Wait for the next answer, on the way hear of what else happens; ``None`` without an owner."""
        while True:
            try:
                while not self.owner.link.heard(within_s=self._vigil.listens_s):
                    self._vigil.ask(self.owner)
                (word, told), descriptors = self.owner.link.receive()
            except (EOFError, OSError):
                self._suspect()
                return None
            self._vigil.heard()
            if word == "answer":
                said: Said = told
                for descriptor in descriptors:
                    self._slot(said.slot).answers = view_of(descriptor)
                return said
            if not self._heed(word, told):
                return None

    def _heed(self, word: str, told: Any) -> bool:
        """Take in another word (see `words`); returns whether there will be more from this owner."""
        if word == "loaded":
            self.load_s = max(0.0, told - self._came)
        elif word == "failed":
            raise told
        elif word == "begun":
            self._begun = told
        elif word == "broken":
            self._broken = told
        elif word == "leave":
            self._deaths -= 1  # which says nothing against it
        return word not in ("broken", "leave")

    def _suspect(self) -> None:
        """Take the second death in a row over the same rows of this task for theirs, if rows may be bad."""
        if self._begun and self._deaths >= 1:
            died = f"its process (pid {self.owner.pid}) died, or did not answer within model_timeout_s"
            self._broken = Broken(f"predict failed: Died: {died}", "")

    def _slot(self, number: int) -> Slot:
        return next(slot for slot in self._offered if slot.number == number)

    def _move(self) -> None:
        """Find another owner and offer it what this one has not answered."""
        with self._lock:
            self._next()
            for slot in self._offered:
                self._offer(slot)

    def _next(self) -> None:
        self._deaths += 1
        if self._deaths >= _MOST_DEATHS:
            raise CannotHold(
                f"the model's process (pid {self.owner.pid}) died {self._deaths} times over the same batch; "
                "the executor's stderr may say why"
            )
        self.owner.link.close()
        self._begun = False
        self.owner = self._find()
        self._vigil.heard()
