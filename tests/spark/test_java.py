"""Spark's Java is found where it may be, and one sentence says what to do when it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tritium.errors import NoJava
from tritium.spark.java import find_java


def java(home: Path, version: str) -> Path:
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-04-15' >&2\n", encoding="utf-8")
    program.chmod(0o755)
    return home


@pytest.mark.parametrize("version", ["17.0.15", "17", "21.0.2", "26-ea"])
def test_java_home_comes_first(tmp_path: Path, version: str) -> None:
    home = java(tmp_path / "home", version)
    other = java(tmp_path / "other", "17.0.1")

    found = find_java({"JAVA_HOME": str(home), "PATH": str(other / "bin")}, installed=tmp_path / "none")

    assert found == home


def test_a_java_home_that_is_too_old_gives_way_to_path_and_path_to_what_is_installed(tmp_path: Path) -> None:
    old = java(tmp_path / "old", "1.8.0_402")
    older = java(tmp_path / "older", "11.0.2")
    good = java(tmp_path / "jvm" / "good", "17.0.1")

    found = find_java({"JAVA_HOME": str(old), "PATH": str(older / "bin")}, installed=tmp_path / "jvm")

    assert found == good


def test_without_any_java_the_sentence_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(NoJava) as caught:
        find_java({"PATH": str(tmp_path), "JAVA_HOME": str(tmp_path / "gone")}, installed=tmp_path)

    assert str(caught.value) == (
        "Spark needs Java 17 or newer, and there is no Java here: "
        "install one, for example: apt-get install openjdk-17-jre-headless"
    )


def test_only_old_ones_are_named_with_their_versions(tmp_path: Path) -> None:
    old = java(tmp_path / "old", "1.8.0_402")

    with pytest.raises(NoJava, match=r"and .*/old/bin/java is Java 8: install one"):
        find_java({"PATH": str(old / "bin")}, installed=tmp_path / "none")
