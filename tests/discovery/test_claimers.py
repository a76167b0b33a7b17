"""Claimers that all ask at once, or are killed at any point."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from machines import settings
from rigs.claiming import claimed
from rigs.processes import eventually
from tritium_discovery import claims, discover

pytestmark = pytest.mark.process

CLAIMER = """
import os, sys, time
from pathlib import Path
from tritium_discovery import NotEnough, Settings, claims
from tritium_discovery.look import look
from tritium_discovery.process import process_id
from tritium_discovery.selection import choose, judge
directory, settings = Path(sys.argv[1]), Settings.from_env(os.environ)
devices = look(settings).devices
def claim():
    def pick(live):
        verdicts = judge(devices, settings, claimed=claims.described(live), held={})
        return choose(verdicts, 1, visible=None)
    return claims.make(pick, owner=process_id(os.getpid()), generation="g", directory=directory, timeout_s=60)
"""

ONCE = """
children = []
for _ in range(25):
    pid = os.fork()
    if not pid:
        try:
            made = claim()
            print(made.devices[0].address, flush=True)
            time.sleep(600)
        except NotEnough:
            os._exit(7)
    children.append(pid)
for pid in children:
    os.waitpid(pid, 0)
"""

FOR_EVER = """
print("go", flush=True)
while True:
    claim()
    claims.release(directory, owner_pid=os.getpid())
"""

AT_EVERY_STEP = """
import signal
HOMES = ("tritium_discovery/claims.py", "tritium_discovery/state.py")
def killed_at(step):
    done = 0
    def trace(frame, event, _):
        nonlocal done
        done += event == "line" and frame.f_code.co_filename.endswith(HOMES)
        if done == step: os.kill(os.getpid(), signal.SIGKILL)
        return trace
    sys.settrace(trace)
    claim()
    claims.release(directory, owner_pid=os.getpid())
    sys.settrace(None)
step = killed = 0
while killed == step:
    step += 1
    pid = os.fork()
    if not pid:
        try: killed_at(step)
        finally: os._exit(0)
    killed += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert claims.live(directory) == (), step
    claim()
    assert claims.release(directory, owner_pid=os.getpid()) == 1, step
    assert os.listdir(directory) == ["lock"], step
print(killed)
"""


def start(program: str, directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CLAIMER + program, directory],
        env={**os.environ, "TRITIUM_MACHINE": "dgx-16", "TRITIUM_DIR": str(directory)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_of_200_claimers_at_once_16_get_a_device_each_and_nobody_another_ones(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    groups = [start(ONCE, tmp_path) for _ in range(8)]
    try:
        eventually(lambda: sum(len(claim.devices) for claim in claims.live(tmp_path)) == 16, limit_s=60)
        # The other 184 have been refused once the only ones left are those that sleep.
        eventually(lambda: _sleepers(groups) == 16, limit_s=60)

        found = Counter(device.address for claim in claims.live(tmp_path) for device in claim.devices)
    finally:
        for group in groups:
            os.killpg(group.pid, signal.SIGKILL)
            group.communicate()

    assert found == Counter(range(16))
    eventually(lambda: claims.live(tmp_path) == ())


def _sleepers(groups: Sequence[subprocess.Popen[str]]) -> int:
    """Claimers that still run; their parent collects them in order, so the dead may be zombies."""
    count = 0
    for group in groups:
        for child in psutil.Process(group.pid).children():
            with suppress(psutil.NoSuchProcess):
                count += child.status() != psutil.STATUS_ZOMBIE
    return count


def test_a_claimer_killed_at_any_point_leaves_a_state_that_others_go_on_from(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    devices = discover(settings(tmp_path, TRITIUM_MACHINE="dgx-16")).devices
    chance = random.Random(4)  # noqa: S311 - moments to kill at, the same ones each time
    for _ in range(12):
        with start(FOR_EVER, tmp_path) as victim:
            assert victim.stdout is not None
            victim.stdout.readline()
            time.sleep(chance.uniform(0, 0.02))
            os.killpg(victim.pid, signal.SIGKILL)
            victim.wait()

            assert claims.live(tmp_path) == ()
            claimed(devices, tmp_path)
            assert claims.release(tmp_path, owner_pid=os.getpid()) == 1
    # Nothing piles up either: drafts and dead claims are swept by the next claimer.
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(("claim-", "draft-"))] == []


def test_a_claimer_killed_at_each_single_step_leaves_a_state_that_others_go_on_from(tmp_path: Path) -> None:
    # The test above kills inside of system calls too, at random; this one misses no line of the library.
    tmp_path.chmod(0o700)
    with start(AT_EVERY_STEP, tmp_path) as victims:
        said, _ = victims.communicate(timeout=300)

    assert victims.returncode == 0
    assert int(said) > 100
