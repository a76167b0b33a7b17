"""Edge: the authenticated connection between a task and the driver's meeting, from either end.

Both ends prove that they know the gang's key (HMAC, `multiprocessing.connection`) before a message is
read. A peer that stops in the middle of a message, or does not take one, is as good as gone: every
read and write that has begun has a limit.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from typing import Any, TypeAlias

__all__ = ["Wire", "admit", "dial", "hang_up", "listen"]

Wire: TypeAlias = "Connection[Any, Any]"
"""Carries pickled messages; its end is an ``EOFError`` or ``OSError``."""

_LIMIT_S = 20


def listen(host: str, port: int, *, backlog: int) -> socket.socket:
    """Open a listening socket on a host's address, IPv4 or IPv6; port 0 lets the system choose.

    Raises:
        OSError: the name has no address of this host, or the port is taken.
    """
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    return socket.create_server((host, port), family=family, backlog=backlog)


def dial(address: tuple[str, int], key: bytes) -> Wire:
    """Connect to a meeting.

    Raises:
        OSError, EOFError: nobody answers there, or not in time.
        multiprocessing.AuthenticationError: it is another meeting.
    """
    raw = socket.create_connection(address, timeout=_LIMIT_S)
    raw.settimeout(None)
    wire = _wire(raw)
    try:
        answer_challenge(wire, key)
        deliver_challenge(wire, key)
    except BaseException:
        wire.close()
        raise
    return wire


def admit(raw: socket.socket, key: bytes) -> Wire:
    """Let in whoever knows the key.

    Raises:
        OSError, EOFError, multiprocessing.AuthenticationError: it does not, or says nothing.
    """
    wire = _wire(raw)
    try:
        deliver_challenge(wire, key)
        answer_challenge(wire, key)
    except BaseException:
        wire.close()
        raise
    return wire


def hang_up(wire: Wire) -> None:
    """End a connection for both ends and for whoever waits in it; the descriptor stays to be closed."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(wire.fileno())) as raw:
        raw.shutdown(socket.SHUT_RDWR)


def _wire(raw: socket.socket) -> Wire:
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for seconds, option in ((30, socket.TCP_KEEPIDLE), (10, socket.TCP_KEEPINTVL), (3, socket.TCP_KEEPCNT)):
        raw.setsockopt(socket.IPPROTO_TCP, option, seconds)
    limit = struct.pack("ll", _LIMIT_S, 0)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    return Connection(raw.detach())
