"""Edge to the kernel: who is at the other end of a Unix socket."""

from __future__ import annotations

import os
import socket
import struct

__all__ = ["is_ours", "pid_of"]


def pid_of(end: socket.socket) -> int:
    """The process that listened at the other end, or called from there (``SO_PEERCRED``)."""
    return _credentials(end)[0]


def is_ours(end: socket.socket) -> bool:
    """Whether the other end is a process of this user."""
    return _credentials(end)[1] == os.getuid()


def _credentials(end: socket.socket) -> tuple[int, int]:
    pid, user, _ = struct.unpack(
        "3i", end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    )
    return pid, user
