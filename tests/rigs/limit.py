"""A pytest plugin: a phase of a test that takes too long ends as by Ctrl-C, and the test has failed.

pytest-timeout, which knows the limits, would raise an exception of its own. py4j breaks a connection off for
KeyboardInterrupt only: after any other the next call, which PySpark makes on its way out of the first, waits
on the same connection for the end of the job that hangs. And pytest-timeout would interrupt once only, and
nothing of what is torn down after a failure.
"""

from __future__ import annotations

import contextlib
import faulthandler
import signal
from collections.abc import Generator, Iterator
from typing import Any

import pytest
import pytest_timeout

__all__ = [
    "pytest_runtest_call",
    "pytest_runtest_setup",
    "pytest_runtest_teardown",
    "pytest_timeout_set_timer",
]

_MOST_AGAIN_S = 60.0
"""What is interrupted may hang where it tidies up, and is interrupted there too: after its limit, or this."""
_STDERR = 2
_limit_s = pytest.StashKey[float]()


@pytest.hookimpl
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool:
    """Note the test's limit, for each of its phases; pytest-timeout need set no timer."""
    item.stash[_limit_s] = settings.timeout
    return True


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Limit what starts the rigs."""
    with _limited(item):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Limit the test itself."""
    with _limited(item):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Limit what stops the rigs, of a test that failed too."""
    with _limited(item):
        return (yield)


@contextlib.contextmanager
def _limited(item: pytest.Item) -> Iterator[None]:
    """Interrupt the block at the limit, and fail it then, whatever it made of the interrupt."""
    limit_s = item.stash.get(_limit_s, 0.0)
    late = f"took longer than {limit_s:g} s: the stacks of all threads then are in the captured stderr"
    interrupts = 0

    def interrupt(*_: object) -> None:
        nonlocal interrupts
        if not pytest_timeout.is_debugging():
            interrupts += 1
            faulthandler.dump_traceback(_STDERR)
            raise KeyboardInterrupt(late)

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, limit_s, min(limit_s, _MOST_AGAIN_S))
    try:
        yield
    except BaseException as err:
        if interrupts:
            raise pytest.fail.Exception(late) from err
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if interrupts:
        pytest.fail(late)
