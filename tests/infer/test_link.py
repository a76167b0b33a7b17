"""What one end of a link has said is heard at the other, however it ended."""

from __future__ import annotations

import socket

import pytest

from tritium.infer.link import Link


def test_the_last_word_is_heard_of_one_that_left_something_unread() -> None:
    ours, theirs = map(Link, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    ours.send("a batch that nobody reads")
    theirs.send(("failed", "why"))
    theirs.close()

    assert ours.receive()[0] == ("failed", "why")
    with pytest.raises((EOFError, OSError)):
        ours.receive()
    ours.close()
