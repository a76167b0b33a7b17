"""What a user's function did wrong, as it crosses from an owner to a task and from there to the driver."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Self

__all__ = ["Broken", "Failure", "first_line"]

_OURS = str(Path(__file__).parent)
_MOST_BYTES = 16_384
"""Of each text of a failure, so that both together fit into one message of a link, whatever their letters."""


class Failure(Exception):
    """The user's code failed, and the job with it.

    Attributes: ``cause`` names step and exception, e.g. ``predict failed: ValueError: negative width``;
    ``trace`` is the user's own traceback. Of a very long cause the beginning is kept, of a trace the end.
    """

    def __init__(self, cause: str, trace: str) -> None:
        self.cause = _text(_bytes(cause)[:_MOST_BYTES])
        self.trace = _text(_bytes(trace)[-_MOST_BYTES:])
        super().__init__(self.cause, self.trace)  # what it is made of again on the other side

    @classmethod
    def of(cls, blame: str, err: BaseException) -> Self:
        """Blame a step of the user's."""
        return cls(f"{blame}: {type(err).__name__}: {first_line(err)}", _trace(err))

    @classmethod
    def late(cls, blame: str, *, limit_s: float, thread: int) -> Self:
        """Blame a step that has not come to its end, with the place where its thread is now."""
        stack = traceback.extract_stack(sys._current_frames().get(thread))  # noqa: SLF001  as faulthandler
        theirs = [frame for frame in stack if not frame.filename.startswith(_OURS)]
        cause = f"{blame}: TimeoutError: no answer within {limit_s:g} s (model_timeout_s)"
        return cls(cause, "".join(traceback.format_list(theirs)))


class Broken(Failure):
    """And the process in which it failed can answer nothing any more, as after most errors of CUDA."""


def first_line(err: BaseException, *, most_bytes: int = _MOST_BYTES) -> str:
    r"""Return the first line of what an error says, as text: of something longer the beginning, in UTF-8.

    >>> first_line(OSError("no caf\udce9\nsee above")), first_line(KeyError("a" * 99), most_bytes=4)
    ('no caf\\udce9', "'aaa")
    """
    return _text(_bytes(str(err).partition("\n")[0])[:most_bytes])


def _trace(err: BaseException) -> str:
    """Format an error's traceback from the user's first line on."""
    trace = err.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OURS):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(err), err, trace, chain=False))


def _bytes(text: str) -> bytes:
    """Encode what a user's exception says, of which not everything is text."""
    return text.encode(errors="backslashreplace")


def _text(part: bytes) -> str:
    return part.decode(errors="ignore")  # a letter may have been cut in two
