"""Tells what a host cannot do for its rank from the loss of those that it talks to meanwhile.

Both are an `OSError`. A lost connection is worth another attempt; a full disk is not.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Unfit", "or_unfit"]


class Unfit(Exception):
    """This host cannot do its part, nor could it next time: it has no room, right, port or process for it."""


@contextmanager
def or_unfit() -> Iterator[None]:
    """Name the host in an error of its own; nobody else may be talked to in the block.

    Raises:
        Unfit: there was one.
    """
    try:
        yield
    except OSError as err:
        raise Unfit(f"{socket.gethostname()}: {err}") from err
