"""Edge in a gang's first task: the meeting of tasks that cannot reach their driver (Spark Connect).

The client of a Connect server is nowhere that executors could call. So the first task hosts the
meeting, its address goes round, and what the meeting learnt goes back to the client in that task's row.
"""

from __future__ import annotations

import json
import pickle
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import AuthenticationError
from typing import TYPE_CHECKING

from tritium.errors import GangLost
from tritium.train.assembly import Assembly
from tritium.train.meeting import Meeting
from tritium.train.messages import FromTask, Gone, Line, Peak, Report, Started
from tritium.train.notice import posted, read

if TYPE_CHECKING:
    from pyspark import BarrierTaskContext

__all__ = ["Hosted", "Place", "Story", "met"]

_MOST_HEARD = 10_000
_CLOCKS_S = 60.0
"""By how much the clocks of client and executors may differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosted:
    """What the client sends along for a meeting that it does not see."""

    assembly: Assembly
    """As it is before anything has happened, its moments on the client's clock."""
    now: float
    """Moment on that clock (``time.monotonic``) when it was sent."""
    start_by: float
    """Time of day after which the client has given the gang up: tasks that Spark starts later do nothing.
    Infinite where Spark computes the rows first, which takes as long as it takes."""

    def begun(self, *, now: float) -> Assembly:
        """Move the assembly's moments to another host's clock; Spark has started the first task by then.

        A barrier stage starts whole, so its other tasks have the launch limit from here. The time limit
        begins anew too: what has passed of it the client knows, whose watch ends a gang that is late.
        """
        later = now - self.now

        def moved(moment: float | None) -> float | None:
            return None if moment is None else moment + later

        assembly = self.assembly
        return replace(
            assembly,
            launch_by=now + assembly.launch_s,
            end_by=moved(assembly.end_by),
            began={phase: at + later for phase, at in assembly.began.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What a meeting learnt, for the client."""

    assembly: Assembly
    heard: tuple[FromTask, ...]
    """The latest that its ranks said, in order."""
    failure: str | None = None
    """What went wrong in the meeting itself, not in the gang."""


@dataclass(slots=True, kw_only=True)
class Place:
    """Where one task meets the others."""

    address: tuple[str, int] | None
    """``None``: nowhere any more."""
    complaint: str = ""
    """Why not."""
    _gang: str | None = None
    """Whose meeting a task hosts; ``None``: it is the driver's."""
    _meeting: Meeting | None = None
    _assembly: Assembly | None = None
    _said_gone: set[int] = field(default_factory=set)
    _heard: deque[FromTask] = field(default_factory=lambda: deque(maxlen=_MOST_HEARD))

    def story(self) -> bytes | None:
        """Tell what the meeting learnt, pickled, if it was here; it is over then.

        Raises:
            TritiumError: what ended the gang, where a task is lost that Spark may wait for: its stage must
                fail to end.
        """
        if self._meeting is None or self._assembly is None:
            return None
        self._meeting.close()
        failure = None if self._meeting.failure is None else str(self._meeting.failure)
        self._meeting = None
        if self._assembly.error is not None and self._assembly.outcomes.keys() - self._said_gone:
            raise self._assembly.error
        return pickle.dumps(Story(assembly=self._assembly, heard=tuple(self._heard), failure=failure))

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Fail the task, and with it Spark's stage, if its connection to a hosted meeting ends in the block.

        Nobody else may notice that, if the first task stands still. A driver does, and has its own words.

        Raises:
            GangLost: the connection to a hosted meeting has ended.
            OSError, EOFError, multiprocessing.AuthenticationError: that to a driver has.
        """
        try:
            yield
        except (OSError, EOFError, AuthenticationError) as err:
            if self._gang is None:
                raise
            why = str(err) or "it is gone, or silent"
            me = socket.gethostname()
            raise GangLost(f"{self._gang}: a task on {me} lost the gang's first task: {why}") from err

    def _open(self, assembly: Assembly, *, host: str, key: bytes) -> None:
        self._assembly = assembly
        self._meeting = Meeting(
            assembly, bind=host, host=host, key=key, heard=self._hear, abandoned=lambda: None
        )
        self.address = self._meeting.address

    def _hear(self, message: FromTask) -> None:
        if isinstance(message, Gone):
            self._said_gone.add(message.task)
        if isinstance(message, Started | Report | Line | Peak | Gone):
            self._heard.append(message)


@contextmanager
def met(
    where: tuple[str, int] | Hosted, context: BarrierTaskContext, *, key: bytes, host: str
) -> Iterator[Place]:
    """Find the gang's meeting, or in the first task hold it, for the block.

    Every task of the gang calls this. Where they are on several hosts it makes one allGather, which costs the
    second that Spark's barrier polls.
    """
    if not isinstance(where, Hosted):
        yield Place(address=where)
        return
    place = Place(address=None, _gang=where.assembly.gang)
    first = context.partitionId() == 0
    hosts = {info.address.rpartition(":")[0] for info in context.getTaskInfos()}
    with ExitStack() as stack:
        stack.callback(place.story)
        if first:
            _hold(place, where, key=key, host=host)
        text = json.dumps([place.address, place.complaint])
        if len(hosts) > 1:
            text = context.allGather(text)[0]
        elif first:
            stack.enter_context(posted(text, key=key))
        else:
            text = read(key=key)
        address, place.complaint = json.loads(text)
        place.address = (address[0], address[1]) if address else None
        yield place


def _hold(place: Place, hosted: Hosted, *, key: bytes, host: str) -> None:
    """Open the meeting here, if the client still waits for it."""
    late_s = time.time() - hosted.start_by
    if late_s > _CLOCKS_S:
        place.complaint = f"Spark started the tasks {late_s:.0f} s after the gang was given up"
        return
    try:
        place._open(hosted.begun(now=time.monotonic()), host=host, key=key)  # noqa: SLF001  its other half
    except OSError as err:
        place.complaint = f"{socket.gethostname()} cannot listen for the gang on {host}: {err}"
