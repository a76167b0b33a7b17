"""Whatever dies, no rank and no grandchild of one is left, and every device is free again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rigs.application import Application, Family
from rigs.processes import assert_gone, eventually
from tritium_discovery import claims, holds

pytestmark = pytest.mark.spark

PROGRAM = Path(__file__).with_name("sleeping_gang.py")
GONE_S = 3.0


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


class Sleepers:
    """A running gang of two, with all of its processes."""

    def __init__(self, application: Application, directory: Path) -> None:
        self.application = application
        self.directory = directory
        pids = application.says("ready")
        self.families = [
            Family(psutil.Process(psutil.Process(pids[rank]["pid"]).ppid())) for rank in sorted(pids)
        ]
        self.members = [psutil.Process(pids[rank][who]) for rank in pids for who in ("pid", "hidden")]
        self.members += [family.guardian for family in self.families]

    def assert_gone(self, *, within_s: float = GONE_S) -> None:
        print(f"gone after {assert_gone(self.members, within_s=within_s):.2f} s")
        assert not holds.held(self.directory)


@pytest.fixture
def sleepers(directory: Path, request: pytest.FixtureRequest) -> Iterator[Sleepers]:
    args = getattr(request, "param", ())
    with Application(PROGRAM, "2", *args, environment={"TRITIUM_DIR": str(directory)}) as application:
        gang = Sleepers(application, directory)
        assert len(holds.held(directory)) == 2
        assert len(claims.live(directory)) == 2
        yield gang


def test_a_killed_python_worker_ends_the_gang(sleepers: Sleepers) -> None:
    for worker in sleepers.families[0].workers:
        worker.kill()

    sleepers.assert_gone()
    name, text = sleepers.application.says("failed")
    assert name == "GangLost", text
    assert sleepers.application.says("stopped", limit_s=30)
    assert not claims.live(sleepers.directory)


def test_a_killed_executor_ends_the_gang(sleepers: Sleepers) -> None:
    sleepers.families[1].executor.kill()

    sleepers.assert_gone()
    name, text = sleepers.application.says("failed")
    assert name == "GangLost", text
    assert "executor" in text


def test_a_killed_executor_takes_its_fork_server_with_it_also_where_its_daemon_stands_still(
    sleepers: Sleepers,
) -> None:
    family = sleepers.families[0]
    assert family.fork_servers
    family.daemon.suspend()

    family.executor.kill()

    try:
        print(f"gone after {assert_gone(family.fork_servers, within_s=GONE_S):.2f} s")
    finally:
        family.daemon.kill()


def test_a_killed_driver_jvm_ends_the_gang_and_frees_its_claims(sleepers: Sleepers) -> None:
    sleepers.families[0].jvm.kill()

    sleepers.assert_gone()
    sleepers.families[0].jvm.wait(5)
    assert not claims.live(sleepers.directory)
    name, text = sleepers.application.says("failed")
    assert name in ("GangLost", "SparkFailed"), text
    assert sleepers.application.says("stopped", limit_s=30), "stopping what is dead already is no error"


def test_a_killed_driver_program_ends_the_gang(sleepers: Sleepers) -> None:
    sleepers.application.process.kill()

    sleepers.assert_gone()
    eventually(lambda: not claims.live(sleepers.directory))


@pytest.mark.parametrize("sleepers", [(), ("deaf",)], indirect=True, ids=["polite", "deaf"])
@pytest.mark.parametrize("how", ["cancel", "cancel the group"])
def test_a_cancelled_gang_is_gone(sleepers: Sleepers, how: str) -> None:
    sleepers.application.tell(how)

    sleepers.assert_gone(within_s=3.0)
    name, _ = sleepers.application.says("failed")
    assert name == "GangCancelled"


@pytest.mark.parametrize("sleepers", [("ui",)], indirect=True)
def test_a_gang_that_is_killed_in_sparks_web_page_is_gone(sleepers: Sleepers) -> None:
    sleepers.application.tell("kill in the UI")

    sleepers.assert_gone(within_s=10.0)
    name, _ = sleepers.application.says("failed")
    assert name == "GangCancelled"
