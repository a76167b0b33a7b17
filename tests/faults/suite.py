"""Injects faults into gangs of one application after the other, and looks at what is left behind."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from faults.kinds import LAUNCH, SIGNALS, Fault
from faults.published import stale
from rigs.application import Application, Family, guardians, meeting
from rigs.processes import eventually, survivors
from tritium_discovery import Uuid, holds

__all__ = ["Outcome", "Suite"]

PROGRAM = Path(__file__).with_name("faulty_gang.py")
_GONE_S = 3.0
_SILENCE_S = 6.0
_END_S = 150.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one fault led to."""

    fault: Fault
    error: str
    """As ``class: sentence``; empty if the gang returned, ``gone`` if its driver died."""
    named: bool
    """Whether the error names the cause."""
    gone_s: float
    """From the fault until every rank and grandchild was gone; what was frozen, from when it went on."""
    orphans: int
    holds: int
    doubles: int
    stale: int
    """Results and checkpoints of an attempt that was not the newest, or of two, that were accepted."""

    @property
    def good(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.named and not (self.orphans or self.holds or self.doubles or self.stale)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    left: list[psutil.Process]
    gone_s: float
    retried: str
    """Why the first attempt failed, if there was another."""
    later: list[psutil.Process]
    """Those of the other."""


class Suite:
    """An application that is replaced when a fault has ended it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._application: Application | None = None
        self._families: dict[int, Family] = {}
        self._ranks: dict[int, psutil.Process] = {}
        self._devices: set[Uuid] = set()
        """Those that the fault suite's gangs have had: all that the application has."""

    def close(self) -> None:
        """End the application."""
        if self._application is not None:
            self._application.__exit__(None, None, None)
            self._application = None

    def inject(self, fault: Fault) -> Outcome:
        """Run a gang, hit it, and look at what came of it."""
        try:
            if fault.phase == LAUNCH and not self._devices:
                self._run(Fault(who="nobody", kind="nothing", phase="end"))
            return self._run(fault)
        except (AssertionError, ValueError, StopIteration, OSError, psutil.Error) as err:
            # A gang that never came so far is a finding too; the next one begins afresh.
            self.close()
            error = f"the gang did not get to {fault.phase}: {type(err).__name__}: {str(err)[-500:]}"
            return Outcome(
                fault=fault, error=error, named=False, gone_s=0.0, orphans=0, holds=0, doubles=0, stale=0
            )

    def _run(self, fault: Fault) -> Outcome:
        application = self._running()
        token = uuid.uuid4().hex[:8]
        folder = self._folder / token
        folder.mkdir()
        order = {**asdict(fault), "token": token, "folder": str(folder)}
        with contextlib.ExitStack() as taken:
            if fault.phase == LAUNCH:
                what, directory = "the fault suite", self._folder / "state"
                taken.enter_context(holds.take(sorted(self._devices), what=what, directory=directory))
            application.tell(json.dumps({"run": order}))
            members = self._guarded(application) if fault.phase == LAUNCH else self._at(application)
            hit = self._hit(application, fault, folder)
            seen = self._watch(application, fault, folder, members=members, hit=hit, taken=taken)
        if fault.who == "driver" and fault.kind == "stop":
            # Its ranks ended while it still stood there.
            application.process.send_signal(signal.SIGCONT)
        ended = self._ended(application, fault)
        left = [*seen.left, *survivors(seen.later, within_s=_GONE_S)]
        error = ended["error"] and f"{ended['error']}: {ended['text']}".removesuffix(": ")
        named = re.search(fault.says, seen.retried or error) is not None
        wrong = stale(folder, ended.get("values", ()), token=token, attempt=int(fault.retried))
        outcome = Outcome(
            fault=fault,
            error="; ".join(filter(None, (seen.retried, error, *wrong))),
            named=named and not (fault.retried and error),
            gone_s=seen.gone_s,
            orphans=len(left),
            holds=len(self._held()),
            doubles=len(list(self._folder.glob(f"double-{token}-*"))),
            stale=len(wrong),
        )
        self._repair(fault, hit, left)
        return outcome

    def _watch(
        self,
        application: Application,
        fault: Fault,
        folder: Path,
        *,
        members: list[psutil.Process],
        hit: list[psutil.Process],
        taken: contextlib.ExitStack,
    ) -> _Seen:
        """Wait until nothing of the gang is left, and for the next attempt if there is to be one."""
        retried, later, struck = "", list[psutil.Process](), time.monotonic()
        if fault.kind == "freeze":
            retried, later = self._next_attempt(application)
            (folder / "publish").touch()
            struck = time.monotonic()
            # The rank goes on first: whoever ends it stands still until it has tried to publish.
            *others, rank = hit
            rank.send_signal(signal.SIGCONT)
            eventually(lambda: any(folder.glob("refused-0-*")), limit_s=_GONE_S)
            for process in others:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGCONT)
        elif fault.harmless:
            time.sleep(0.2)
            (folder / "go").touch()
        if fault.harmless or fault.who == "guardian":
            # A guardian is missed when there is something to guard.
            taken.close()
        left = survivors(members, within_s=_GONE_S + (2 * _SILENCE_S if fault.kind == "stop" else 0))
        gone_s = time.monotonic() - struck
        if fault.retried and not retried:
            retried, later = self._next_attempt(application)
        (folder / "go").touch()
        return _Seen(left=left, gone_s=gone_s, retried=retried, later=later)

    def _next_attempt(self, application: Application) -> tuple[str, list[psutil.Process]]:
        """Wait until it is at its end; returns why there is one, and its processes."""
        return application.says("retried", limit_s=_END_S), self._at(application)

    def _running(self) -> Application:
        if self._application is None:
            self._devices = set()
            self._application = Application(
                PROGRAM, str(self._folder), environment={"TRITIUM_DIR": str(self._folder / "state")}
            )
            self._application.says("ready", limit_s=300)
        return self._application

    def _at(self, application: Application) -> list[psutil.Process]:
        """Wait until both ranks are there; returns their processes."""
        members = []
        for _ in range(2):
            at = application.says("at", limit_s=_END_S)
            rank = psutil.Process(at["pid"])
            family = Family(psutil.Process(rank.ppid()))
            self._families[at["rank"]], self._ranks[at["rank"]] = family, rank
            self._devices |= set(at["devices"].split(","))
            members += [rank, family.guardian, psutil.Process(at["hidden"])]
        return members

    def _guarded(self, application: Application) -> list[psutil.Process]:
        """Wait until both tasks have guardians, whose ranks do not start yet."""
        found = eventually(lambda: len(seen := guardians(application)) == 2 and seen, limit_s=_END_S)
        assert found
        families = sorted(map(Family, found), key=lambda family: family.executor.pid)
        self._families = dict(enumerate(families))
        return found

    def _hit(self, application: Application, fault: Fault, folder: Path) -> list[psutil.Process]:
        if fault.kind in ("exception", "exit"):
            (folder / fault.kind).touch()
        if fault.who == "cancel" and fault.kind == "interrupt":
            application.process.send_signal(signal.SIGINT)
        elif fault.who == "cancel":
            application.tell(json.dumps({"cancel": fault.kind}))
        if fault.kind not in SIGNALS:
            return []
        processes = [process for rank in fault.victims for process in self._processes(fault.who, rank)]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(SIGNALS[fault.kind])
        return processes

    def _processes(self, who: str, rank: int) -> list[psutil.Process]:
        assert self._application is not None
        family = self._families[rank]
        workers = meeting(family.workers, self._application.process.pid)
        if who in ("rank", "machine"):
            own = [self._ranks[rank]]
            return own if who == "rank" else [*workers, family.guardian, *own]
        return {
            "guardian": [family.guardian],
            "worker": workers,
            "daemon": [family.daemon],
            "fork server": family.fork_servers,
            "executor": [family.executor],
            "driver jvm": [family.jvm],
            "driver": [psutil.Process(self._application.process.pid)],
        }[who]

    def _ended(self, application: Application, fault: Fault) -> dict[str, Any]:
        """Hear how the gang ended; a driver that was killed says nothing more."""
        if fault.who == "driver" and fault.kind == "kill":
            return {"error": "gone", "text": ""}
        try:
            ended: dict[str, Any] = application.says("ended", limit_s=_END_S)
        except AssertionError as err:
            self.close()
            return {"error": "hung", "text": str(err)[-300:]}
        return ended

    def _held(self) -> list[str]:
        """Who still holds a device; the kernel may need a moment."""
        deadline = time.monotonic() + _GONE_S
        while (held := holds.held(self._folder / "state")) and time.monotonic() < deadline:
            time.sleep(0.05)
        return [holds.described(having) for having in held.values()]

    def _repair(self, fault: Fault, hit: list[psutil.Process], left: list[psutil.Process]) -> None:
        """Let what stands still go on, and replace what a fault has ended for good."""
        for process in (*hit, *left):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL if process in left else signal.SIGCONT)
        if fault.who in ("fork server", "daemon"):
            # Only a new daemon starts another fork server, and Spark starts one when it has no worker left.
            for family in self._families.values():
                for process in (family.daemon, *family.workers):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
            assert self._application is not None
            self._application.tell(json.dumps({"settle": True}))
            self._application.says("settled", limit_s=_END_S)
        if fault.who == "driver jvm" or (fault.who, fault.kind) == ("driver", "kill"):
            self.close()
