"""Edge at the driver: the authenticated service where a gang's tasks meet.

Spark's own ``barrier()`` polls once a second and carries nothing back, so tasks connect here. Both
sides prove that they know the gang's key (HMAC, ``multiprocessing.connection``) before a message is
read. The closing of a connection is news in both directions: a task that vanishes is lost, a driver
that vanishes ends the gang.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge, wait
from typing import Any

from tritium.train.assembly import Assembly, Lost
from tritium.train.messages import FromTask, Hello, ToTask

__all__ = ["Meeting"]

_TICK_S = 0.2


class Meeting:
    """Runs one gang's assembly in a thread of its own, from construction to `close`."""

    def __init__(
        self,
        assembly: Assembly,
        *,
        host: str,
        heard: Callable[[FromTask], None],
        abandoned: Callable[[], None],
    ) -> None:
        self.key = secrets.token_bytes(32)
        self._assembly = assembly
        self._heard = heard
        self._abandoned = abandoned
        self._server = socket.create_server((host, 0), backlog=assembly.size + 8)
        self.address: tuple[str, int] = (host, self._server.getsockname()[1])
        self._lock = threading.Lock()
        self._joining: list[Connection[Any, Any]] = []
        self._tasks: dict[Connection[Any, Any], int | None] = {}
        self._wake_r, self._wake_w = os.pipe()
        self._closing = False
        self.over = threading.Event()
        """Set once every rank is gone, or known to be lost."""
        self._thread = threading.Thread(target=self._run, name="tritium-meeting", daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Tell every task to end its rank."""
        with self._lock:
            said = self._assembly.cancel(now=time.monotonic())
        self._tell(said)

    def close(self) -> None:
        """Close all connections, which ends every rank that is still alive, and the thread."""
        self._closing = True
        os.write(self._wake_w, b"x")
        self._thread.join(timeout=5)

    def _run(self) -> None:
        try:
            while not self._closing:
                self._turn()
        finally:
            for connection in [*self._tasks, *self._joining]:
                connection.close()
            self._server.close()
            os.close(self._wake_r)
            os.close(self._wake_w)

    def _turn(self) -> None:
        ready = wait([self._server, self._wake_r, *self._tasks], timeout=_TICK_S)
        for source in ready:
            if source is self._server:
                threading.Thread(target=self._admit, args=[self._server.accept()[0]], daemon=True).start()
            elif source is self._wake_r:
                os.read(self._wake_r, 4096)
            elif isinstance(source, Connection):
                self._hear(source)
        with self._lock:
            while self._joining:
                self._tasks[self._joining.pop()] = None
            said = self._assembly.tick(now=time.monotonic())
        self._tell(said)

    def _admit(self, raw: socket.socket) -> None:
        """Let in whoever knows the key; in a thread of its own, so that a silent guest holds up nobody."""
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection: Connection[Any, Any] = Connection(raw.detach())
        try:
            deliver_challenge(connection, self.key)
            answer_challenge(connection, self.key)
        except (OSError, EOFError, AuthenticationError):
            connection.close()
            return
        with self._lock:
            self._joining.append(connection)
        with contextlib.suppress(OSError):
            os.write(self._wake_w, b"x")

    def _hear(self, connection: Connection[Any, Any]) -> None:
        task = self._tasks[connection]
        event: FromTask | Lost
        try:
            event = connection.recv()
        except (OSError, EOFError):
            del self._tasks[connection]
            connection.close()
            if task is None:
                return
            event = Lost(task=task)
        if isinstance(event, Hello):
            self._tasks[connection] = event.task
        with self._lock:
            said = self._assembly.handle(event, now=time.monotonic())
        self._tell(said)
        if not isinstance(event, Lost):
            self._heard(event)

    def _tell(self, said: Sequence[ToTask]) -> None:
        for message in said:
            for connection in list(self._tasks):
                # A task that is gone shows as the end of its connection in the next turn.
                with contextlib.suppress(OSError):
                    connection.send(message)
        if self._assembly.phase == "over":
            self.over.set()
        if self._assembly.abandoned and said:
            self._abandoned()
