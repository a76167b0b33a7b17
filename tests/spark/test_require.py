"""A rig that is not here skips its tests with the way to get it; CI fails instead."""

from __future__ import annotations

import pytest

from rigs.require import require


def test_a_rig_that_is_here_lets_the_test_go_on() -> None:
    require("/usr/bin/java", what="Java", install="apt-get install openjdk-17-jre-headless")


def test_an_absent_rig_skips_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)

    with pytest.raises(pytest.skip.Exception, match=r"^a broker is not here; apt-get install broker$"):
        require(None, what="a broker", install="apt-get install broker")


def test_in_ci_nothing_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")

    with pytest.raises(pytest.fail.Exception, match=r"^CI runs every test, and a broker is not here"):
        require(None, what="a broker", install="apt-get install broker")
