"""Edge at the driver: the service where a gang's tasks meet.

Spark's own ``barrier()`` polls once a second and carries nothing back, so tasks connect here. The
closing of a connection is news in both directions: a task that vanishes is lost, a driver that
vanishes ends the gang. So is silence, where a machine stands still or a cable is cut.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, wait

from tritium.train.assembly import Assembly, Lost
from tritium.train.link import beat_s
from tritium.train.messages import FromTask, Here, Pulse, ToTask
from tritium.train.wire import Wire, admit, hang_up, listen

__all__ = ["Meeting"]

_TICK_S = 0.2


class Meeting:
    """Runs one gang's assembly in a thread of its own, from construction to `close`.

    Args:
        assembly: decides; this only carries.
        bind: address to listen on, of this host.
        host: name under which executors reach this host.
        port: 0 lets the system choose.
        key: what its guests must know; by default a new one.
        heard: is told what tasks say; if it raises, the gang is cancelled and `failure` keeps the error.
        abandoned: is called when the gang is over while Spark still waits for one of its tasks.

    Raises:
        OSError: the address is not this host's, or the port is taken.
    """

    def __init__(
        self,
        assembly: Assembly,
        *,
        bind: str,
        host: str,
        port: int = 0,
        key: bytes | None = None,
        heard: Callable[[FromTask], None],
        abandoned: Callable[[], None],
    ) -> None:
        self.key = key if key is not None else secrets.token_bytes(32)
        self._server = listen(bind, port, backlog=assembly.size + 8)
        self.address: tuple[str, int] = (host, self._server.getsockname()[1])
        self.over = threading.Event()
        """Set once every rank is gone, or known to be lost."""
        self.failure: Exception | None = None
        """What went wrong here, not in the gang."""
        self._assembly, self._heard, self._abandoned = assembly, heard, abandoned
        self._lock = threading.Lock()
        self._joining: list[Wire] = []
        self._tasks: dict[Wire, int | None] = {}
        self._wake_r, self._wake_w = os.pipe()
        self._closing = False
        self._next_pulse = 0.0
        self._thread = threading.Thread(target=self._run, name="tritium-meeting", daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Tell every task to end its rank."""
        with self._lock:
            self._tell(self._assembly.cancel(now=time.monotonic()))

    def computes(self) -> None:
        """Say that Spark computes what comes before the gang's tasks."""
        with self._lock:
            self._assembly.computes(now=time.monotonic())

    def close(self) -> None:
        """Close all connections, which ends every rank that is still alive, and the thread."""
        self._closing = True
        os.write(self._wake_w, b"x")
        self._thread.join()
        with self._lock:
            for wire in [*self._tasks, *self._joining]:
                wire.close()
        self._server.close()
        os.close(self._wake_r)
        os.close(self._wake_w)

    def _run(self) -> None:
        while not self._closing:
            try:
                self._turn()
            except Exception as err:  # noqa: BLE001  whatever it was, the ranks must end and the caller must know
                self.failure = self.failure or err
                self.cancel()

    def _turn(self) -> None:
        # What was said up to here is heard in this turn: silence cannot be this thread's own delay.
        listened = time.monotonic()
        ready = wait([self._server, self._wake_r, *self._tasks], timeout=_TICK_S)
        for source in ready:
            if source is self._server:
                guest = self._server.accept()[0]
                threading.Thread(target=self._admit, args=[guest], daemon=True).start()
            elif source is self._wake_r:
                os.read(self._wake_r, 4096)
            elif isinstance(source, Connection):
                self._hear(source)
        with self._lock:
            while self._joining:
                self._tasks[self._joining.pop()] = None
            now = time.monotonic()
            if now >= self._next_pulse:
                self._next_pulse = now + beat_s(self._assembly.silence_s)
                self._tell([Pulse()])
            self._tell(self._assembly.tick(now=listened))

    def _admit(self, guest: socket.socket) -> None:
        """Let a guest in, in a thread of its own, so that a silent one holds up nobody."""
        try:
            wire = admit(guest, self.key)
        except (OSError, EOFError, AuthenticationError):
            return
        with self._lock:
            if self._closing:
                wire.close()
                return
            self._joining.append(wire)
            os.write(self._wake_w, b"x")

    def _hear(self, wire: Wire) -> None:
        event: FromTask | Lost
        try:
            event = wire.recv()
        except (OSError, EOFError):
            task = self._tasks.pop(wire)
            wire.close()
            if task is None:
                return
            event = Lost(task=task)
        if isinstance(event, Here):
            self._tasks[wire] = event.task
        with self._lock:
            self._tell(self._assembly.handle(event, now=time.monotonic()))
        if not isinstance(event, Lost):
            self._heard(event)

    def _tell(self, said: Sequence[ToTask]) -> None:
        for message in said:
            for wire in list(self._tasks):
                try:
                    wire.send(message)
                except OSError:
                    # It shows as the end of its connection in the next turn.
                    hang_up(wire)
        if self._assembly.phase == "over":
            self.over.set()
        if said and self._assembly.abandoned:
            self._abandoned()
