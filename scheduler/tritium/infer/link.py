"""Edge: the connection between a feeding task and the process that owns a model.

Owners are found by the names of their sockets, which live in the kernel's abstract space: they need no
folder, and a name is gone when its process is, however that ended. A name says whose executor it is and
which model. Both ends make sure that the other is the same user before they read a word.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import secrets
import select
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tritium.train.peer import is_ours

__all__ = ["BACKLOG", "Link", "addresses", "bind", "connect", "readable"]

_PREFIX = "tritium-owner"
_LISTENS = 0x00010000
"""The flag of a listening socket in /proc/net/unix (``__SO_ACCEPTCON``)."""
_MOST_BYTES = 65536
"""Of one message; the longest are failures, which know their limit."""
BACKLOG = 128
"""How many tasks may call an owner at once."""


class Link:
    """Carries pickled messages, each with descriptors; its end is an ``EOFError`` or ``OSError``."""

    def __init__(self, raw: socket.socket) -> None:
        self.socket = raw

    def heard(self, *, within_s: float) -> bool:
        """Wait until there is a message, or the other end is gone."""
        return bool(readable([self.socket.fileno()], within_s=within_s))

    def send(self, message: Any, descriptors: Sequence[int] = ()) -> None:
        """Send one message; whoever gets it has the descriptors too."""
        data = pickle.dumps(message)
        if descriptors:
            socket.send_fds(self.socket, [data], list(descriptors))
        else:
            self.socket.send(data)

    def ask(self) -> None:
        """Ask the other end whether it is there; never waits.

        Raises:
            OSError: it is gone, or takes nothing in.
        """
        self.socket.send(pickle.dumps(None), socket.MSG_DONTWAIT)

    def receive(self) -> tuple[Any, list[int]]:
        """Wait for one message.

        Raises:
            EOFError, OSError: the other end is gone.
        """
        try:
            data, descriptors, _, _ = socket.recv_fds(self.socket, _MOST_BYTES, 1)
        except ConnectionResetError:  # it left something unread; what it had said comes after that
            data, descriptors, _, _ = socket.recv_fds(self.socket, _MOST_BYTES, 1)
        if not data:
            raise EOFError
        return pickle.loads(data), descriptors  # noqa: S301  the peer is the same user

    def hang_up(self) -> None:
        """End it on both sides, and wake whoever waits for a message here."""
        with contextlib.suppress(OSError):  # the other end may be faster
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up, and let the descriptor go."""
        self.hang_up()
        self.socket.close()


def readable(filenos: Sequence[int], *, within_s: float) -> list[int]:
    """Wait until something can be read from some, or has hung up, in the order given."""
    poll = select.poll()  # select() knows no descriptors from 1024 on
    for fileno in filenos:
        poll.register(fileno, select.POLLIN)
    return [fileno for fileno, _ in poll.poll(within_s * 1000)]


def bind(executor: str, model: str, *, only: str = "") -> socket.socket:
    """Listen under a new name, for an owner that is about to start.

    Raises:
        OSError: the model has the ``only`` owner that is to be called so already (``EADDRINUSE``).
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        listener.bind(f"\0{_name(executor, model)}{only or secrets.token_hex(6)}")
    except OSError:
        listener.close()
        raise
    listener.listen(BACKLOG)
    return listener


def addresses(executor: str, model: str | None = None) -> list[str]:
    """Find the owners that live in an executor, of one model or of all, the same order each time."""
    prefix = f"@{_name(executor, model) if model else _name(executor, '')[:-1]}"
    found = []
    for line in Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()[1:]:
        fields = line.split()
        if len(fields) == 8 and fields[7].startswith(prefix) and int(fields[3], 16) & _LISTENS:  # noqa: PLR2004  unix(7)
            found.append(fields[7][1:])
    return sorted(found)


def connect(address: str, *, within_s: float) -> Link | None:
    """Call an owner, which has so long to answer; ``None`` if it has just gone, or is not ours."""
    raw = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    raw.settimeout(within_s)
    link = Link(raw)
    try:
        raw.connect(f"\0{address}")
        if is_ours(link.socket):
            return link
    except OSError:
        pass  # refused: it has gone since it was found
    link.close()
    return None


def _name(executor: str, model: str) -> str:
    return f"{_PREFIX}-{os.getuid()}-{executor}-{model}-"
