"""Injects faults into gangs of one application after the other, and looks at what is left behind."""

from __future__ import annotations

import contextlib
import json
import random
import re
import signal
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from faults.kinds import LAUNCH, SIGNALS, Fault
from rigs.application import Application, Family
from rigs.processes import survivors
from tritium_discovery import holds

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
    """From the fault until every rank and grandchild was gone."""
    orphans: int
    holds: int
    doubles: int
    stale: int

    @property
    def good(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.named and not (self.orphans or self.holds or self.doubles or self.stale)


class Suite:
    """An application that is replaced when a fault has ended it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._application: Application | None = None
        self._families: dict[int, Family] = {}

    def close(self) -> None:
        """End the application."""
        if self._application is not None:
            self._application.__exit__(None, None, None)
            self._application = None

    def inject(self, fault: Fault) -> Outcome:
        """Run a gang, hit it, and look at what came of it."""
        try:
            if fault.phase == LAUNCH and not self._known():
                self._run(Fault(who="nobody", kind="", phase="end"))
            return self._run(fault)
        except (AssertionError, ValueError, StopIteration, OSError, psutil.Error) as err:
            # A gang that never came so far is a finding too; the next one begins afresh.
            self.close()
            error = f"the gang did not get to {fault.phase}: {type(err).__name__}: {str(err)[-500:]}"
            return Outcome(
                fault=fault, error=error, named=False, gone_s=0.0, orphans=0, holds=0, doubles=0, stale=0
            )

    def _known(self) -> bool:
        """Whether the processes around the next gang's ranks are those around the last one's."""
        return self._application is not None and all(
            process.is_running()
            for family in self._families.values()
            for process in (family.daemon, family.executor)
        )

    def _run(self, fault: Fault) -> Outcome:
        application = self._running()
        token = uuid.uuid4().hex[:8]
        folder = self._folder / token
        folder.mkdir()
        order = {**asdict(fault), "token": token, "folder": str(folder)}
        application.tell(json.dumps({"run": order}))
        members: list[psutil.Process] = []
        if fault.phase == LAUNCH:
            time.sleep(random.uniform(0, 0.6))  # noqa: S311  no secret
        else:
            members = self._await_phase(application)
        hit = self._hit(application, fault, folder)
        struck = time.monotonic()
        if fault.who == "nobody" or fault.harmless:
            time.sleep(0.2)
            (folder / "go").touch()
        left = survivors(members, within_s=_GONE_S + (2 * _SILENCE_S if fault.kind == "stop" else 0))
        gone_s = time.monotonic() - struck
        if fault.who == "driver" and fault.kind == "stop":
            # Its ranks ended while it still stood there.
            application.process.send_signal(signal.SIGCONT)
        ended = self._ended(application, fault)
        error = ended["error"] and f"{ended['error']}: {ended['text']}".removesuffix(": ")
        outcome = Outcome(
            fault=fault,
            error=error,
            named=fault.who == "nobody" or re.search(fault.says, error) is not None,
            gone_s=gone_s,
            orphans=len(left),
            holds=len(self._held()),
            doubles=len(list(self._folder.glob(f"double-{token}-*"))),
            stale=sum(value != token for value in ended.get("values", ())),
        )
        self._repair(fault, hit, left)
        return outcome

    def _running(self) -> Application:
        if self._application is None:
            self._families = {}
            self._application = Application(
                PROGRAM, str(self._folder), environment={"TRITIUM_DIR": str(self._folder / "state")}
            )
            self._application.says("ready", limit_s=300)
        return self._application

    def _await_phase(self, application: Application) -> list[psutil.Process]:
        """Wait until both ranks are there; returns their processes."""
        members = []
        for _ in range(2):
            at = application.says("at", limit_s=_END_S)
            family = Family(at["pid"])
            self._families[at["rank"]] = family
            members += [family.rank, family.guardian, psutil.Process(at["hidden"])]
        return members

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
        return {
            "rank": [family.rank],
            "guardian": [family.guardian],
            "worker": family.workers,
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
        return [str(holder) for holder in held.values()]

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
