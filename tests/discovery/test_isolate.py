"""The driver may hang, crash or be loaded already: the parent answers in time and holds together."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from machines import written
from rigs.children import big, crash, defect, hang, open_files, refuse
from rigs.nvml.rig import environment
from tritium_discovery import DriverError, NotEnough, TimedOut
from tritium_discovery.isolate import call
from tritium_discovery.machine import load
from tritium_discovery.state import host_lock

pytestmark = pytest.mark.process

COMMAND = Path(sys.executable).with_name("gpu-discover")


@pytest.fixture(params=["forked", "spawned"])
def way(request: pytest.FixtureRequest) -> object:
    """Both ways to start the child; with a second thread it is a fresh interpreter."""
    if request.param == "forked":
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    yield
    done.set()
    thread.join()


@pytest.mark.usefixtures("way")
def test_an_answer_of_any_size_comes_back() -> None:
    assert len(call(big, timeout_s=30)) == 10_000_000


@pytest.mark.usefixtures("way")
def test_a_call_that_hangs_is_given_up_in_time() -> None:
    began = time.monotonic()

    with pytest.raises(TimedOut, match=r"did not answer within 0\.5 s"):
        call(hang, timeout_s=0.5)

    assert time.monotonic() - began < 1.5


@pytest.mark.usefixtures("way")
def test_a_call_that_crashes_is_an_error_of_the_driver() -> None:
    with pytest.raises(DriverError, match="signal 11"):
        call(crash, timeout_s=30)


@pytest.mark.usefixtures("way")
def test_errors_come_back_as_what_they_are() -> None:
    with pytest.raises(NotEnough) as caught:
        call(refuse, timeout_s=30)
    with pytest.raises(DriverError, match="ZeroDivisionError: a defect"):
        call(defect, timeout_s=30)

    assert caught.value.reasons == ("because",)


@pytest.mark.usefixtures("way")
def test_the_child_keeps_no_descriptor_of_ours(tmp_path: Path) -> None:
    with (tmp_path / "ours").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        names = call(open_files, timeout_s=30)

    assert not [name for name in names if "ours" in name]
    assert sum("pipe" in name for name in names) == 1
    # Spark reads our output until nobody has it open, and nothing ends a child that is stuck in the kernel.
    assert names.count("/dev/null") == 3
    assert len(names) == 4


def test_a_child_that_hangs_keeps_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "held"
    fileno = os.open(path, os.O_CREAT | os.O_RDWR)
    fcntl.flock(fileno, fcntl.LOCK_EX)

    with pytest.raises(TimedOut):
        call(hang, timeout_s=0.2)
    os.close(fileno)

    again = os.open(path, os.O_RDWR)
    fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(again)
    with host_lock(tmp_path, timeout_s=0.1):
        pass


@pytest.mark.nvml
@pytest.mark.parametrize(
    "call_", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetUUID"]
)
def test_a_driver_that_hangs_anywhere_ends_the_script_in_time_and_its_output_too(
    call_: str, tmp_path: Path
) -> None:
    model = load(written(tmp_path, hang=[call_]))
    environ = {**environment(model, tmp_path), "TRITIUM_TIMEOUT_S": "0.5"}
    began = time.monotonic()

    # Spark reads until the end of our output: a child that kept it open would hang Spark as well.
    done = subprocess.run([COMMAND], env=environ, check=False, capture_output=True, text=True, timeout=30)

    assert time.monotonic() - began < 3
    assert (done.returncode, done.stdout) == (18, "")
    assert "did not answer within 0.5 s" in done.stderr


@pytest.mark.nvml
def test_a_process_with_the_driver_inside_can_still_ask(tmp_path: Path) -> None:
    # State of NVML and CUDA does not survive a fork, so such a process asks through a fresh interpreter.
    program = (
        "import os, pynvml; pynvml.nvmlInit()\n"
        "from tritium_discovery import Settings, discover\n"
        "print(len(discover(Settings.from_env(os.environ)).devices))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment("dgx-16", tmp_path),
        check=True,
        capture_output=True,
        text=True,
    )

    assert done.stdout == "16\n"


def test_a_process_whose_second_thread_is_jemallocs_forks() -> None:
    # Every Python worker of Spark that has pyarrow has one; only a child that is a copy knows this function.
    program = (
        "import os; os.environ['OMP_NUM_THREADS'] = '1'\n"  # as Spark has it
        "import pyarrow\n"
        "pool = pyarrow.jemalloc_memory_pool(); pyarrow.set_memory_pool(pool)\n"
        "kept = pyarrow.allocate_buffer(1 << 24)\n"
        "from tritium_discovery import isolate\n"
        "names = [open(f'/proc/self/task/{t}/comm').read().strip() for t in os.listdir('/proc/self/task')]\n"
        "print('jemalloc_bg_thd' in names, isolate.call(lambda: len(kept), timeout_s=10))\n"
    )

    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (run.stdout, run.stderr) == ("True 16777216\n", "")
