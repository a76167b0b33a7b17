"""What a feeding task and an owner say to each other.

A task says ``("attach", most, call)`` when it calls: it wants to feed this owner if fewer than so many do,
and is of this call of ``predict``. Then it offers batches, ``(slot, rows, where, within)`` with the memory's
descriptor the first time, where ``within`` is a part of the rows or ``None``; and ``None`` asks whether the
owner is there. The owner says:

============== ============================== ========================================================
word           with                           what the task does
============== ============================== ========================================================
``welcome``    who it is, and whether it      offers batches
               ever got one of this call
``full``       how many feed it               looks at others, or comes again and accepts one more
``loaded``     when                           notes how long it waited
``begun``      -                              if bad rows are put up with: knows whose batch it is at
``answer``     `Said`, and a descriptor       takes the answer to its oldest batch
``here``       -                              goes on waiting: it is there, and busy
``failed``     `Failure`                      fails: it is the user's code
``broken``     `Broken`                       asks the next owner for parts of this batch (`search`)
``leave``      -                              finds another owner; this one was asked for its device, or
                                              broke over another task's batch
(hangs up)     -                              finds another; three times in a row over a batch it fails
============== ============================== ========================================================
"""

from __future__ import annotations

from dataclasses import dataclass

from tritium.infer.failure import Failure
from tritium.infer.forms import Form
from tritium.infer.memory import Extent
from tritium_discovery import Device

__all__ = ["Order", "Said"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """All that an owner needs to know."""

    what: str
    """What it is called where it holds devices, e.g. ``owner of model 3fa94c``."""
    host: str
    executor: str
    """E.g. ``executor 1``."""
    devices: tuple[Device, ...]
    load: bytes
    """The pickled function that loads the model, and its arguments after the device."""
    files: str = ""
    """Where the tasks have what ``SparkContext.addFile`` added (``SparkFiles.getRootDirectory``)."""
    output: tuple[str, ...]
    quarantine: bool
    form: Form = "numpy"
    """What the model gets."""
    keep_s: float
    """How long it stays without a task."""
    limit_s: float
    """How long loading the model, or one call of it, may take."""
    priority: int = 0
    """Who may ask it to give its devices up while it has tasks: what is more important."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The owner's answer to one batch, beside the values in the shared memory."""

    slot: int
    where: Extent = (0, 0)
    failure: Failure | None = None
    queued_s: float = 0.0
    predict_s: float = 0.0
    copy_s: float = 0.0
    waiting: int = 0
    """Batches that were waiting, of all tasks, when this one was begun."""
    busy_s: float = 0.0
    """Seconds that the owner has predicted since it loaded."""
    owner: int = 0
    """The pid of who says so."""
    at: float = 0.0
    """When that was so, on the clock that all processes of a host share (``time.monotonic``)."""
