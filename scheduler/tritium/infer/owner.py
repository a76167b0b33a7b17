"""The process that owns a model: loads it once, holds its devices, and answers the tasks that feed it.

It belongs to one executor: it ends when that JVM ends, or the Python daemon of its tasks, or its keeper,
or when no task has fed it for a while, or when it is asked to leave. Its batches are answered one after the
other, in the order they came; while one is predicted the next are taken in.

Run as ``python -m tritium.infer.owner LISTENER ORDER COUNT PIDFD... HOLD...``: descriptors of the socket
that tasks find it by, of the memory that its order lies in, of as many processes to end with, and of the
locks on its devices.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Sequence
from typing import Any

from tritium.infer.failure import Broken, Failure
from tritium.infer.guests import Door, Guest, Work
from tritium.infer.link import BACKLOG, Link, readable
from tritium.infer.memory import Extent, Memory, view_of
from tritium.infer.packing import unpacked
from tritium.infer.serving import Model
from tritium.infer.words import Order, Said
from tritium.train import sweep
from tritium.train.peer import pid_of
from tritium_discovery.drain import Drainable

__all__ = ["main"]

_LOOK_S = 0.25
"""How often an owner looks whether its devices are asked for, and whether it is needed any more."""
_DRAIN_S = 5.0
"""What it takes to give the devices up: the batch that is predicted ends, and then the process."""
_BROKEN = 75
"""Exit code: the model has stopped working, and a fresh process may do better (EX_TEMPFAIL)."""


def main(argv: list[str]) -> int:
    """Own a model until nobody needs it."""
    listener, order_at, processes = socket.socket(fileno=int(argv[1])), int(argv[2]), int(argv[3])
    lives, hold = [*map(int, argv[4 : 4 + processes])], [*map(int, argv[4 + processes :])]
    for word in (*argv[1:3], *argv[4:]):
        os.set_inheritable(int(word), False)  # as they were, to come here: no program of the model's has them
    os.setsid()
    # Each batch on its way has some descriptors, and 1024 of them are soon used up.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # What ends it is its executor, never the terminal of the one who started that.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    view = view_of(order_at)
    order: Order = pickle.loads(view)  # noqa: S301  written by the task that started this
    # Who calls is told by the kernel who listens: from here on this process, not that task.
    listener.listen(BACKLOG)
    drainable = Drainable(hold, what=order.what, drain_s=_DRAIN_S, priority=order.priority)
    owner = _Owner(order, listener, drainable)
    threading.Thread(target=owner.listen, args=(lives,), name="tritium-listen", daemon=True).start()
    try:
        code = owner.serve()
    finally:
        sweep.end_offspring(os.getpid())
    if code:
        # At once: threads of the user's, or of a driver that is broken, may never end, and tasks call again.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


class _Owner:
    """The guests on one side and the model on the other."""

    def __init__(self, order: Order, listener: socket.socket, drainable: Drainable) -> None:
        self._order, self._door, self._drainable = order, Door(listener), drainable
        self._guests: dict[int, Guest] = {}
        self._work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._loaded: tuple[str, Any] | None = None
        self._leave_by: float | None = None
        """Seconds since the epoch; ``None`` while nobody asks for its devices."""
        self._busy_s = 0.0
        self._loading: float | None = None
        """Since when, if the model is being loaded."""
        self._model: Model | None = None
        self._guilty: Guest | None = None
        """For whom the model was called last."""
        self._calls: deque[str] = deque(maxlen=1000)
        """Of ``predict``, of which batches came; a user's own ``foreachBatch`` makes one per micro-batch."""
        self._main = threading.get_ident()

    # The main thread: frameworks like to be used where they were loaded.

    def serve(self) -> int:
        """Load the model and answer until it is time to go; returns the exit code."""
        try:
            self._loading = time.monotonic()
            order, devices = self._order, self._order.devices
            load, arguments = unpacked(order.load, files=order.files)
            predict = load(devices if len(devices) > 1 else next(iter(devices), None), *arguments)
            self._loading = None
            if not callable(predict):
                raise TypeError(f"it returned {repr(predict)[:40]}, no function")  # noqa: TRY301  the user's
            model = self._model = Model(predict, order.output, order.quarantine, order.form)
        except BaseException as err:  # noqa: BLE001  the user's code may raise anything, also SystemExit
            self._ready(("failed", Failure.of("load failed", err)))
            return 1
        self._ready(("loaded", time.monotonic()))
        while (work := self._work.get()) is not None:
            try:
                self._answer(model, work)
            except Broken as err:
                self._breaks(work.guest, err)
                return _BROKEN
        return 0

    def _breaks(self, guilty: Guest | None, failure: Failure) -> None:
        """Tell all that nothing comes from here any more, and one of them that it is for its rows."""
        word = "broken" if self._order.quarantine else "failed"
        for guest in list(self._guests.values()):
            guest.say((word, failure) if guest is guilty else ("leave", None))

    def _ready(self, word: tuple[str, Any]) -> None:
        self._loaded = word
        for guest in list(self._guests.values()):
            guest.say(word)

    def _answer(self, model: Model, work: Work) -> None:
        if work.guest.link.socket.fileno() not in self._guests:
            return  # its task has ended
        began = time.monotonic()
        waiting = self._work.qsize()
        where: Extent = (0, 0)
        grown: list[int] = []
        failure: Failure | None = None
        predict_s = 0.0
        try:
            self._guilty = work.guest
            if self._order.quarantine:
                work.guest.say(("begun", True))
            answer = model.answer(work.columns, work.asked)
            predict_s = answer.predict_s
            memory = work.guest.answers.setdefault(work.slot, Memory())
            where, has_grown = memory.write(answer)
            grown = [memory.fileno] if has_grown else []
        except Broken:
            raise
        except Failure as err:
            failure = err
        except Exception as err:  # noqa: BLE001  an answer that cannot be pickled
            failure = Failure.of("predict returned what does not fit", err)
        work.original.restore()  # what was changed in it would take memory until the next batch
        ended = time.monotonic()
        self._busy_s += predict_s
        said = Said(
            slot=work.slot,
            where=where,
            failure=failure,
            queued_s=began - work.came,
            predict_s=predict_s,
            copy_s=ended - began - predict_s,
            waiting=waiting,
            busy_s=self._busy_s,
            owner=os.getpid(),
            at=ended,
        )
        work.guest.say(("answer", said), grown)

    # The other thread: it never waits for the model.

    def listen(self, lives: Sequence[int]) -> None:
        """Let tasks come and go, and take in their batches; end with the executor.

        It ends with whatever goes wrong here too: nobody else would notice that the executor has gone, and
        tasks find another owner.
        """
        try:
            self._attend(lives)
        except Exception:  # noqa: BLE001  whatever it is
            traceback.print_exc()
        self._end_at_once()

    def _attend(self, lives: Sequence[int]) -> None:
        idle_since = time.monotonic()
        while not self._over(idle_since):
            self._leave_if_asked()
            self._end_if_late()
            # Those who hang up first: they make room for who calls.
            guests = list(self._guests.values())
            watched = [*lives, *(guest.life for guest in guests), *self._guests, *self._door.filenos]
            ready = readable(watched, within_s=_LOOK_S)
            if any(life in ready for life in lives):
                self._end_at_once()
            for guest in guests:
                if guest.life in ready:
                    guest.link.hang_up()
            for one in ready:
                if one in self._guests:
                    self._hear(one)
                elif one in self._door.filenos and (caller := self._door.opened(one)) is not None:
                    self._welcome(*caller)
            if needed := self._needed():
                idle_since = time.monotonic()
            self._drainable.weigh(self._order.priority if needed else None)
        self._door.close()
        self._work.put(None)
        # The main thread may still be loading, or predicting for a task that has gone.
        limit_s = _DRAIN_S if self._leave_by is None else max(0.0, self._leave_by - time.time())
        readable(lives, within_s=limit_s)

    def _over(self, idle_since: float) -> bool:
        """Whether nobody needs it, or it must go: who has not heard of it by then hears it hang up."""
        if self._guests:
            return self._leave_by is not None and time.time() >= self._leave_by
        idle = not self._needed() and time.monotonic() - idle_since > self._order.keep_s
        return idle or self._leave_by is not None

    def _needed(self) -> bool:
        return bool(self._guests) or self._loaded is None or self._door.expects

    def _welcome(self, link: Link, most: int, call: str) -> None:
        """Let a caller feed this owner, if few enough do."""
        order = self._order
        if self._leave_by is not None or len(self._guests) >= most:
            with contextlib.suppress(OSError):
                link.send(("full", len(self._guests)))
            link.close()
            return
        try:
            guest = Guest(link, call, os.pidfd_open(pid_of(link.socket)))
        except OSError:  # its process has ended meanwhile
            link.close()
            return
        facts = {"devices": order.devices, "host": order.host, "executor": order.executor}
        guest.say(("welcome", {**facts, "pid": os.getpid(), "knows": call in self._calls}))
        # Not before: the other thread says to all of these that the model is there.
        self._guests[link.socket.fileno()] = guest
        if self._loaded is not None:
            guest.say(self._loaded)

    def _leave_if_asked(self) -> None:
        """Give the devices to whoever asks: at once when nobody feeds this owner, else in time for it."""
        asked = self._drainable.asked() if self._leave_by is None else None
        if asked is None or (self._guests and time.time() < asked.deadline - _DRAIN_S):
            return
        self._leave_by = asked.deadline
        for guest in self._guests.values():
            guest.say(("leave", None))

    def _end_if_late(self) -> None:
        """End with what does not return; it cannot be ended alone."""
        since = self._model.called if self._model is not None else self._loading
        if since is None or time.monotonic() - since < self._order.limit_s:
            return
        what = "load" if self._model is None else "predict"
        failure = Broken.late(f"{what} failed", limit_s=self._order.limit_s, thread=self._main)
        if self._model is None:
            self._ready(("failed", failure))
        else:
            self._breaks(self._guilty, failure)
        self._end_at_once()

    def _hear(self, fileno: int) -> None:
        """Take in a batch; who is gone, or says what cannot be read, is no guest any more."""
        guest = self._guests[fileno]
        try:
            work = guest.hear()
        except Exception as err:  # noqa: BLE001  whatever one guest does, the others are served
            if not isinstance(err, (OSError, EOFError)):
                traceback.print_exc()
            del self._guests[fileno]
            guest.close()
            return
        if work is None:
            return
        if guest.call not in self._calls:
            self._calls.append(guest.call)
        self._work.put(work)

    def _end_at_once(self) -> None:
        """The executor is gone: nothing of this may be left, whatever it is doing."""
        sweep.end_family(os.getpid())


if __name__ == "__main__":
    sys.exit(main(sys.argv))
