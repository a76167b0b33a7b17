"""Edge in a gang's tasks: what the first one has to say to the others of its host, without Spark's barrier.

The barrier's allGather looks once a second. Tasks on one address have one network namespace, and in it a
socket of the kernel's abstract space, named after the gang's key: who does not know that finds no name.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Iterator

from tritium.train.peer import is_ours

__all__ = ["posted", "read"]

_BACKLOG = 128
_POLL_S = 0.01
_LIMIT_S = 60.0
"""How much later than its peers the first task may start; Spark starts a barrier stage whole."""
_MOST_BYTES = 65_536


@contextlib.contextmanager
def posted(text: str, *, key: bytes) -> Iterator[None]:
    """Tell everybody who asks during the block.

    Raises:
        OSError: that name is taken.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as board:
        board.bind(_name(key))
        board.listen(_BACKLOG)
        thread = threading.Thread(target=_tell, args=(board, text), name="tritium-notice", daemon=True)
        thread.start()
        try:
            yield
        finally:
            board.shutdown(socket.SHUT_RDWR)
            thread.join()


def read(*, key: bytes) -> str:
    """Wait for what is posted.

    Raises:
        TimeoutError: nothing was for a minute.
    """
    give_up_at = time.monotonic() + _LIMIT_S
    while time.monotonic() < give_up_at:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
            asking.settimeout(_LIMIT_S)
            with contextlib.suppress(ConnectionError, BlockingIOError):  # nobody is there yet, or too many
                asking.connect(_name(key))
                if is_ours(asking) and (said := asking.recv(_MOST_BYTES)):
                    return said.decode()
        time.sleep(_POLL_S)
    raise TimeoutError(f"the gang's first task did not say within {_LIMIT_S:g} s where to meet")


def _tell(board: socket.socket, text: str) -> None:
    with contextlib.suppress(OSError):  # its end
        while True:
            guest, _ = board.accept()
            with guest, contextlib.suppress(OSError):
                guest.send(text.encode())


def _name(key: bytes) -> str:
    return f"\0tritium-meeting-{hashlib.sha256(key).hexdigest()}"
