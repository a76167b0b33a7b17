"""``tritium.checkpoint``: keep what a gang has learned, so that its next attempt goes on from there.

For any framework: a checkpoint is files. It is complete or not there, and only the newest attempt of a
gang can save one. Where they are kept is ``Gang.run(..., checkpoints=...)``.
"""

from __future__ import annotations

from tritium.train.checkpoints import Checkpoint, Content
from tritium.train.rank import rank

__all__ = ["Checkpoint", "Content", "latest", "prune", "save"]


def save(step: int, content: Content, *, together: bool = False) -> None:
    """Save a checkpoint: a folder, a file, or ``{"state.pt": bytes}``.

    One rank saves for all. With ``together`` every rank calls it and saves a part of its own, as
    sharded models need; the checkpoint is complete when the last part is.

    Raises:
        StaleAttempt: a later attempt has begun, and this one may not write any more.
        CannotPublish: the store would not take it.
        DifferentCalls: with ``together``, another rank saves another step, or does something else.
        NotInARank: this process was not started by a gang, or the gang has no ``checkpoints``.
    """
    me = rank()
    kept = me.kept()
    part = kept.put(content)
    if not together:
        kept.commit(step, (part,))
        return
    parts = tuple(me.call(f"checkpoint.save({step}, together=True)", part))
    if me.rank == 0:
        kept.commit(step, parts)
    me.call(f"checkpoint.save({step}, together=True), its end", None)
    kept.saw(step, parts)


def latest() -> Checkpoint | None:
    """Find where to go on: the last complete checkpoint, ``None`` if there is none.

    Every rank finds the same, because it is looked up and read once before the attempt begins; later it is
    what this very rank saved since.

    Raises:
        CannotPublish: its files are not what was saved, though they were when the attempt began.
        NotInARank: this process was not started by a gang, or the gang has no ``checkpoints``.
    """
    return rank().kept().latest()


def prune(*, keep: int) -> None:
    """Remove all checkpoints but the last ``keep``; for the rank that saves.

    Raises:
        ValueError: ``keep`` is less than 1.
        StaleAttempt: a later attempt has begun.
    """
    if keep < 1:
        raise ValueError(f"keep: expected an integer >= 1, got {keep!r}")
    rank().kept().prune(keep=keep)
