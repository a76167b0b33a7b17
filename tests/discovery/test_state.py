"""The state directory and the host's lock: whom they trust, and what attacks they refuse."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from machines import settings
from rigs.jvm import COMMAND, FakeJvm, clean_environment
from tritium_discovery import BadState, TimedOut, Unwritten, claims, holds, host_lock, state_directory
from tritium_discovery.device import Uuid
from tritium_discovery.state import replace_file

ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to other users")
NOBODY = 65534


@pytest.fixture
def shared() -> Iterator[Path]:
    """Root's directory for all users, where other users may look."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o1777)
        yield Path(name)


def test_a_new_directory_is_the_users_alone(tmp_path: Path) -> None:
    directory = state_directory(settings(tmp_path / "a" / "b"))

    assert directory.stat().st_mode & 0o7777 == 0o700


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")

    with pytest.raises(BadState, match="a symbolic link"):
        state_directory(settings(tmp_path / "link"))


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(BadState):
        state_directory(settings(tmp_path / "file"))


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_directory_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    directory = tmp_path / "open"
    directory.mkdir()
    directory.chmod(mode)

    with pytest.raises(BadState, match="may be written by others"):
        state_directory(settings(directory))


@ROOT
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "theirs"
    directory.mkdir(mode=0o700)
    os.chown(directory, NOBODY, NOBODY)

    with pytest.raises(BadState, match=f"belongs to user {NOBODY}"):
        state_directory(settings(directory))


@ROOT
def test_the_sticky_directory_of_root_is_for_all_users(tmp_path: Path) -> None:
    directory = tmp_path / "shared"
    directory.mkdir()
    directory.chmod(0o1777)

    assert state_directory(settings(directory)) == directory


def test_a_lock_file_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to("/etc/passwd")

    with pytest.raises(BadState, match="is a symbolic link; remove it"), host_lock(tmp_path, timeout_s=1):
        pass


def test_a_lock_file_that_is_a_pipe_neither_hangs_nor_passes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lock")

    with pytest.raises(BadState, match="is not a plain file"), host_lock(tmp_path, timeout_s=1):
        pass


def test_a_hold_file_that_is_a_link_is_refused_and_its_target_untouched(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("data", encoding="utf-8")
    (tmp_path / "hold-GPU-1").symlink_to(target)

    with pytest.raises(BadState):
        holds.take([Uuid("GPU-1")], what="test", directory=tmp_path)

    assert target.read_text(encoding="utf-8") == "data"


@pytest.mark.parametrize("uuid", ["../evil", "", "a/b", ".", "GPU 1"])
def test_a_uuid_that_is_a_path_is_refused(tmp_path: Path, uuid: str) -> None:
    with pytest.raises(BadState, match="is no device UUID"):
        holds.take([Uuid(uuid)], what="test", directory=tmp_path)


def test_the_lock_lets_one_in_at_a_time(tmp_path: Path) -> None:
    inside = []

    def enter() -> None:
        for _ in range(20):
            with host_lock(tmp_path, timeout_s=30):
                inside.append(1)
                assert len(inside) == 1
                inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inside == []


def test_a_lock_that_cannot_be_had_is_given_up_in_time(tmp_path: Path) -> None:
    began = time.monotonic()

    with (
        host_lock(tmp_path, timeout_s=1),
        pytest.raises(TimedOut, match=r"was taken for 0\.2 s"),
        host_lock(tmp_path, timeout_s=0.2),
    ):
        pass

    assert 0.2 <= time.monotonic() - began < 1


def test_a_child_forked_inside_the_lock_does_not_keep_it(tmp_path: Path) -> None:
    # Nobody should, but another thread may fork at any time.
    program = (
        "import os, sys, time; from pathlib import Path; from tritium_discovery import host_lock\n"
        "with host_lock(Path(sys.argv[1]), timeout_s=1):\n"
        "    pid = os.fork()\n"
        "    if not pid: time.sleep(2); os._exit(0)\n"
        "with host_lock(Path(sys.argv[1]), timeout_s=0.5): print('free')\n"
        "os.kill(pid, 9); os.wait()"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path], check=True, capture_output=True, text=True
    )

    assert done.stdout == "free\n"


def test_a_file_is_replaced_whole_and_leaves_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "file"
    (tmp_path / f"draft-{os.getpid()}-file").write_text("of an earlier process", encoding="utf-8")

    replace_file(path, "one")
    replace_file(path, "two")

    assert [(found.name, found.read_text(encoding="utf-8")) for found in tmp_path.iterdir()] == [
        ("file", "two")
    ]


@pytest.mark.parametrize("where", ["none/file", "folder"])
def test_a_file_that_cannot_be_written_is_an_error_and_leaves_no_draft(where: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()

    with pytest.raises(Unwritten, match="cannot be written"):
        replace_file(tmp_path / where, "text")

    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_on_a_full_disk_the_script_says_so_claims_nothing_and_leaves_no_draft(tmp_path: Path) -> None:
    environ = clean_environment(TRITIUM_MACHINE="two-t4", TRITIUM_DIR=str(tmp_path / "state"))
    limited: list[str | Path] = [
        "sh",
        "-c",
        'ulimit -f 0; exec "$0"',
        COMMAND,
    ]  # no file may have a byte; pipes may

    with FakeJvm(tmp_path) as jvm:
        answer = jvm.run(environ, limited)

        assert (answer.exit_code, answer.stdout) == (25, "")
        assert "cannot be written: File too large" in answer.stderr
        assert claims.live(tmp_path / "state") == ()
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["lock"]


@ROOT
@pytest.mark.parametrize("name", ["claim-x.json", "hold-GPU-1"])
def test_rubbish_of_another_user_stops_nobody(name: str, tmp_path: Path) -> None:
    (tmp_path / name).symlink_to("/etc/passwd")
    with pytest.raises(BadState):
        (claims.live(tmp_path), holds.held(tmp_path))

    os.lchown(tmp_path / name, NOBODY, NOBODY)

    assert (claims.live(tmp_path), holds.held(tmp_path)) == ((), {})


@ROOT
def test_a_draft_that_another_user_laid_in_the_way_is_an_error_and_never_written_through(
    shared: Path,
) -> None:
    precious = shared / "precious"
    precious.write_text("data", encoding="utf-8")
    (shared / f"draft-{os.getpid()}-file").symlink_to(precious)
    os.seteuid(NOBODY)
    try:
        with pytest.raises(Unwritten, match="Operation not permitted"):
            replace_file(shared / "file", "evil")
    finally:
        os.seteuid(0)

    assert precious.read_text(encoding="utf-8") == "data"
