"""What one end of a link has said is heard at the other, however it ended."""

from __future__ import annotations

import socket

import pytest

from tritium.infer.failure import Broken, Failure
from tritium.infer.link import Link


@pytest.mark.parametrize("letter", ["x", "ü", "犬", "🐕", "\udcff"])
def test_a_failure_is_heard_whatever_its_length_and_its_letters(letter: str) -> None:
    ours, theirs = map(Link, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    long = letter * 100_000
    failed = Failure.of("predict failed", ValueError(f"first {long}\n{long} last"))

    for said in (failed, Broken(f"predict failed: ValueError: {long}", "")):
        theirs.send(("failed", said))
        (_, heard), _ = ours.receive()
        assert type(heard) is type(said)
        assert (heard.cause, heard.trace) == (said.cause, said.trace)
    assert failed.cause.startswith("predict failed: ValueError: first ")
    assert failed.trace.endswith(" last\n")
    ours.close()
    theirs.close()


def test_the_last_word_is_heard_of_one_that_left_something_unread() -> None:
    ours, theirs = map(Link, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    ours.send("a batch that nobody reads")
    theirs.send(("failed", "why"))
    theirs.close()

    assert ours.receive()[0] == ("failed", "why")
    with pytest.raises((EOFError, OSError)):
        ours.receive()
    ours.close()
