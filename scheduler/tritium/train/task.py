"""Edge in Spark: what each task of the barrier stage does for its one rank.

Get the shard to where its rank finds it, meet the others at the driver, compute the placement, hold the
devices, start the rank and stay until every rank of the gang is gone: Spark grants a device again the
moment one task returns, so none returns early.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing import AuthenticationError
from pathlib import Path
from typing import TYPE_CHECKING

from tritium.assign.types import Member
from tritium.errors import CannotHold
from tritium.spark.inventory import TaskView, ask_to_drain
from tritium.spark.splits import BySpark, Reading
from tritium.train import cpus
from tritium.train.contract import Attempt, base_environment, common_environment, contract_of
from tritium.train.frameworks import FRAMEWORKS
from tritium.train.hosting import Hosted, Place, met
from tritium.train.link import Link
from tritium.train.lookout import Lookout
from tritium.train.messages import Again, AllGone, Gathered, Go, Gone, Hello, Here, Outcome, Refusal, Reserved
from tritium.train.placing import Asked, Placed, place
from tritium.train.printed import log_folder
from tritium.train.split_rows import SplitRows
from tritium.train.spool import SpoolFull
from tritium.train.spooling import Spooling
from tritium.train.supervise import Supervisor
from tritium.train.unfit import Unfit, or_unfit
from tritium.train.wire import dial, listen
from tritium_discovery import DeviceHeld, DiscoveryError, holds
from tritium_discovery.process import nearest_jvm

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SCHEMA", "RankTask"]

SCHEMA = "rank int, value binary, complaint string, story binary"
"""One row per task: its rank and what its function returned, pickled (null if it did not return), why it
could not take part, if so, and from the task that hosted the meeting what that learnt (`Story`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankTask:
    """The function that Spark runs in each task of a gang (``mapInArrow(..., barrier=True)``)."""

    meeting: tuple[str, int] | Hosted
    """Where the driver holds it, or that the first task shall."""
    key: bytes
    attempt: Attempt
    asked: Asked
    framework: str
    function: bytes
    """The user's function and its keyword arguments, pickled."""
    reading: Reading | None
    """How each task's rows come; ``None`` for a gang without data."""
    spool_mib: int | None
    silence_s: float
    """Limit for silence on both ends of the connection to the driver."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Be one task of the gang."""
        import pyarrow as pa
        from pyspark import BarrierTaskContext

        if nearest_jvm() is None:  # what it saw would be anybody's devices; Spark drops workers that raise
            raise CannotHold("this Python worker belongs to no executor any more: its daemon was killed")
        context = BarrierTaskContext.get()
        number, resources = context.partitionId(), context.resources().get("gpu")
        host = context.getTaskInfos()[number].address.rpartition(":")[0]
        lookout = Lookout(tuple(resources.addresses) if resources else None)
        lookout.ahead()
        with met(self.meeting, context, key=self.key, host=host) as place:
            seat = _Seat(
                task=self,
                number=number,
                lookout=lookout,
                host=host,
                place=place,
            )
            rank, value, complaint = seat.sit(batches)
            story = place.story()
        yield pa.RecordBatch.from_pydict(
            {
                "rank": pa.array([rank], pa.int32()),
                "value": pa.array([value], pa.binary()),
                "complaint": pa.array([complaint], pa.string()),
                "story": pa.array([story], pa.binary()),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settled:
    """What a task knows once the gang may start."""

    placed: Placed
    hellos: tuple[Hello, ...]
    hold: holds.Hold


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seat:
    """One task's way through the gang."""

    task: RankTask
    number: int
    lookout: Lookout
    host: str
    """Address under which Spark knows this executor."""
    place: Place
    """Where the gang meets."""

    def sit(self, batches: Iterator[pa.RecordBatch]) -> tuple[int, bytes | None, str | None]:
        """Go from the first row to the end of the gang; returns a row as `SCHEMA` has it."""
        if self.place.address is None:
            return -1, None, self.place.complaint
        try:
            with self.place.kept():
                wire = dial(self.place.address, self.task.key)
                wire.send(Here(task=self.number))
        except (OSError, EOFError, AuthenticationError) as err:
            # With a shuffle behind it Spark starts a lost barrier stage again, but that gang's meeting is
            # over: attempts are the gang's own business.
            return -1, None, f"{socket.gethostname()}: {str(err) or type(err).__name__}"
        # It says its word from here on: a guardian may wait for a fork server that still imports.
        link = Link(wire, task=self.number, silence_s=self.task.silence_s)
        with contextlib.closing(link) as driver, contextlib.ExitStack() as stack:
            try:
                with or_unfit():
                    listener = stack.enter_context(self._listener())
                    supervisor = Supervisor(silence_s=self.task.silence_s, logs=log_folder())
            except Unfit as err:
                self._leave(driver, Outcome(kind="refused", cause=str(err)))
                return -1, None, None
            return self._take_part(driver, listener, supervisor, batches)

    def _take_part(
        self, driver: Link, listener: socket.socket, supervisor: Supervisor, batches: Iterator[pa.RecordBatch]
    ) -> tuple[int, bytes | None, None]:
        with contextlib.ExitStack() as stack:
            try:
                started: Member | Outcome = Outcome(kind="stopped")
                if (rows := self._rows(batches, supervisor.folder, stack, driver)) is not None:
                    with self.place.kept():
                        settled = self._settle(driver, listener, rows)
                    started = (
                        self._start(supervisor, settled, listener)
                        if isinstance(settled, _Settled)
                        else settled
                    )
            except (DiscoveryError, SpoolFull, Unfit) as err:
                started = Outcome(kind="refused", cause=str(err))
            except BaseException:
                supervisor.abandon()
                raise
            if isinstance(started, Outcome):
                supervisor.abandon()
                self._leave(driver, started)
                return -1, None, None
        outcome, value = supervisor.attend(driver, driver.send, task=self.number)
        if outcome.failed:
            outcome = replace(outcome, sick=self.lookout.sick(started.devices))
        self._leave(driver, outcome)
        return started.rank, value, None

    def _rows(
        self, batches: Iterator[pa.RecordBatch], folder: Path, stack: contextlib.ExitStack, driver: Link
    ) -> int | None:
        """Leave the rank its rows, or where they are; returns their number, ``None`` if the gang ends."""
        if isinstance(self.task.reading, BySpark):
            spooling = Spooling(batches, folder / "shard.arrow", limit_mib=self.task.spool_mib)
            return stack.enter_context(contextlib.closing(spooling)).rows(unless=driver.fileno())
        deque(batches, maxlen=0)  # one row, without which Spark would not use this worker again
        if self.task.reading is None:
            return 0
        rows = SplitRows(pieces=self.task.reading.tasks[self.number], columns=self.task.reading.columns)
        with or_unfit():
            (folder / "splits.pkl").write_bytes(pickle.dumps(rows))
        return rows.num_rows

    def _settle(self, driver: Link, listener: socket.socket, rows: int) -> _Settled | Outcome:
        """Meet, place and hold until everybody has what it needs, or the gang is called off."""
        while True:
            hello = self._hello(listener, rows)
            driver.send(hello)
            gathered = driver.recv()
            if not isinstance(gathered, Gathered):
                return Outcome(kind="stopped")
            placed = place(gathered.hellos, self.task.asked)
            hold = placed if isinstance(placed, Refusal) else self._hold(placed, hello.view.directory)
            if isinstance(hold, Refusal):
                self._ask_to_drain(hold, hello.view)
            driver.send(Reserved(task=self.number, refusal=hold if isinstance(hold, Refusal) else None))
            answer = driver.recv()
            if isinstance(answer, Go) and isinstance(placed, Placed) and isinstance(hold, holds.Hold):
                return _Settled(placed=placed, hellos=gathered.hellos, hold=hold)
            if isinstance(hold, holds.Hold):
                hold.close()
            if not isinstance(answer, Again):
                return Outcome(kind="stopped")
            time.sleep(answer.after_s)

    @or_unfit()
    def _hello(self, listener: socket.socket, rows: int) -> Hello:
        return Hello(
            task=self.number,
            view=self.lookout.view(),
            rows=rows if self.task.reading is not None else None,
            address=(self.host, listener.getsockname()[1]),
            cpus=cpus.usable(),
        )

    @or_unfit()
    def _hold(self, placed: Placed, directory: Path) -> holds.Hold | Refusal:
        member = placed.member_of(self.number)
        what = f"rank {member.rank} of {self.task.attempt.gang}, about to start"
        try:
            return holds.take(member.devices, what=what, directory=directory)
        except DeviceHeld as err:
            return Refusal(reasons=(str(err),), waits=True)

    def _ask_to_drain(self, refusal: Refusal, view: TaskView) -> None:
        """Ask those of this executor's models that are to give way; until they have, the gang waits."""
        ask_to_drain(
            refusal.drains,
            view,
            by=f"gang {self.task.attempt.gang}",
            priority=self.task.asked.request.priority,
            within_s=refusal.within_s,
        )

    def _start(self, supervisor: Supervisor, settled: _Settled, listener: socket.socket) -> Member:
        placed, by_task = settled.placed, {hello.task: hello for hello in settled.hellos}
        hellos = [by_task[task] for task in placed.tasks]
        member = placed.member_of(self.number)
        contract = contract_of(
            placed.placement,
            member,
            attempt=self.task.attempt,
            devices=placed.devices,
            tasks=placed.tasks,
            rows=[hello.rows or 0 for hello in hellos] if self.task.reading is not None else None,
            addresses=[hello.address for hello in hellos],
            cpus=by_task[self.number].cpus,
        )
        environment = {
            **base_environment(os.environ),
            **common_environment(contract),
            **FRAMEWORKS[self.task.framework](contract),
        }
        with settled.hold as hold, or_unfit():
            (supervisor.folder / "function.pkl").write_bytes(self.task.function)
            supervisor.start(contract, environment, [listener.fileno(), *hold.filenos])
        # From here on rank 0 alone has the port, until it ends.
        listener.close()
        return member

    def _leave(self, driver: Link, outcome: Outcome) -> None:
        """Say how it ended and stay until every rank is gone."""
        with contextlib.suppress(OSError, EOFError), self.place.kept():
            driver.send(Gone(task=self.number, outcome=outcome))
            while not isinstance(driver.recv(), AllGone):
                pass

    def _listener(self) -> socket.socket:
        """Hold a port from now on: if this task becomes rank 0, it is the gang's rendezvous."""
        return listen(self.host, 0, backlog=self.task.asked.request.members)
