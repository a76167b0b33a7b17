"""Edge to Spark's errors: finds what an inference task said in the wall of text that Spark makes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tritium.errors import CannotHold, ModelFailed, SparkFailed, TritiumError, Unplaceable

__all__ = ["failures", "said_by_task"]

_SAID = re.compile(r"^tritium(?:_discovery)?\.errors\.(\w+): (.*(?:\n  - .*)*)", re.MULTILINE)
_END = re.compile(r"\n(?:\tat |\s*SQLSTATE: )")
"""What follows the user's traceback: Java's, or on Spark Connect its code of the error."""
_MODEL_FAILED = re.compile(r"inference task (\d+) on ([^\s:]+): (.*)")


@contextmanager
def failures() -> Iterator[None]:
    """Turn the failure of an inference task, in an action inside the block, into one clear error.

    `predict` is lazy, as Spark is: its tasks fail where the DataFrame is written or collected.

    Raises:
        ModelFailed: the user's ``load`` or ``predict`` failed; ``.trace`` is the user's own traceback.
        Unplaceable: no device of the executor will do.
        CannotHold: a task's device was held by somebody else for too long.
        SparkFailed: a task could not read the devices of its host.
    """
    try:
        yield
    except Exception as err:
        found = said_by_task("\n".join(_texts(err)))
        if found is None:
            raise
        # The chain would be Spark's wall of text again; the user's traceback is in the note.
        raise found from None


def said_by_task(text: str) -> TritiumError | None:
    r"""Return the error that a task raised, from a text that has its traceback in it somewhere.

    >>> said_by_task("...\ntritium.errors.CannotHold: task 3 waited 60 s\n\tat org.apache...")
    CannotHold('task 3 waited 60 s')
    """
    match = _SAID.search(text)
    if match is None:
        return None
    name, sentence = match.groups()
    failed = _MODEL_FAILED.fullmatch(sentence)
    if failed is not None:
        trace = _END.split(text[match.end() :], maxsplit=1)[0].strip("\n") + "\n"
        error = ModelFailed(task=int(failed[1]), device=failed[2], cause=failed[3], trace=trace)
        error.add_note(trace)
        return error
    if name == "Unplaceable":
        what, *reasons = sentence.split("\n  - ")
        return Unplaceable(what, reasons)
    return CannotHold(sentence) if name == "CannotHold" else SparkFailed(sentence)


def _texts(err: BaseException | None) -> Iterator[str]:
    """The texts of an error and its causes; py4j keeps causes of its own (``CapturedException``)."""
    while err is not None:
        yield str(err)
        err = getattr(err, "_cause", None) or err.__cause__
