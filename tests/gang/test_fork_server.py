"""The fork server outlives what goes wrong with one task that asks it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rigs.cuda import driver
from tritium.train.daemon import start_fork_server
from tritium.train.forkserver import DESCRIPTOR

pytestmark = pytest.mark.process
_LIMIT_S = 60.0


@contextmanager
def server_with(module: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A server that has loaded a module of this text."""
    (folder / "loaded_first.py").write_text(module)
    monkeypatch.setenv("TRITIUM_PREIMPORT", "loaded_first")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *sys.path]))
    with start_fork_server() as server:
        fileno = int(os.environ.pop(DESCRIPTOR).partition(":")[0])
        with socket.socket(fileno=fileno) as wishes:
            yield wishes
            server.kill()


def ask(wishes: socket.socket) -> socket.socket:
    ours, theirs = socket.socketpair()
    ours.settimeout(_LIMIT_S)
    with theirs, Path(os.devnull).open("w") as output:
        socket.send_fds(wishes, [b"fork"], [theirs.fileno(), output.fileno()])
    return ours


def test_a_task_that_has_gone_meanwhile_is_not_the_servers_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = "import threading, time\nthreading.Thread(target=time.sleep, args=[600], daemon=True).start()\n"
    with server_with(thread, tmp_path, monkeypatch) as wishes:
        ask(wishes).close()

        with ask(wishes) as second:
            assert second.recv(256) == b"no it has 2 threads\n"


def test_a_fork_that_fails_is_said_and_the_next_task_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = "import os\ndef fork():\n    raise BlockingIOError(11, 'no more processes')\nos.fork = fork\n"
    with server_with(full, tmp_path, monkeypatch) as wishes:
        for _ in range(2):
            with ask(wishes) as wire:
                assert wire.recv(256).startswith(b"no it has no room: [Errno 11]")


def reason_after(code: str) -> str:
    """What a fresh process that has run this says of being forked."""
    asked = f"{code}\nfrom tritium.train.forkserver import reason_not_to_fork\nprint(reason_not_to_fork())"
    command = [sys.executable, "-c", asked]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=_LIMIT_S).stdout


@pytest.mark.nvml
def test_the_drivers_library_alone_as_torch_brings_it_along_is_no_reason_not_to_fork(tmp_path: Path) -> None:
    assert reason_after(f"import ctypes; ctypes.CDLL({str(driver(tmp_path))!r})") == "None\n"


def test_a_module_that_opens_the_gpu_is(tmp_path: Path) -> None:
    """What it opened is called so by a stand-in: there is no such device here."""
    opened = f"import pathlib; file = open({str(tmp_path / 'file')!r}, 'w')\n"
    named = "pathlib.Path.readlink = lambda entry: pathlib.Path('/dev/nvidiactl')"

    assert reason_after(opened + named) == (
        "a module of TRITIUM_PREIMPORT uses the GPU when it is imported\n"
    )
