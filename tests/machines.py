"""The machines that tests name, and how a test puts one together that does not ship."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tritium_discovery import Settings
from tritium_discovery.machine import Machine, load, names, parse

__all__ = ["NAMES", "machine", "made", "settings", "written"]

NAMES = names()
"""All machines that ship."""


def machine(name: str) -> Machine:
    """A machine that ships."""
    return load(name)


def made(
    name: str = "made", *, cards: int = 2, card: Mapping[str, Any] | None = None, **rest: Any
) -> Machine:
    """A machine of like cards; ``first`` holds what the first card has of its own."""
    return parse(_document(cards, card, rest), name=name)


def written(directory: Path, *, cards: int = 2, card: Mapping[str, Any] | None = None, **rest: Any) -> str:
    """Such a machine as a file, for TRITIUM_MACHINE. JSON is YAML."""
    import json

    path = directory / "made.yaml"
    path.write_text(json.dumps(_document(cards, card, rest)), encoding="utf-8")
    return str(path)


def _document(cards: int, card: Mapping[str, Any] | None, rest: dict[str, Any]) -> dict[str, Any]:
    first = rest.pop("first", {})
    return {
        "card": dict(card or {}),
        "cards": [{**first} if index == 0 else {} for index in range(cards)],
        **rest,
    }


def settings(directory: Path, **environ: str) -> Settings:
    """Settings of a test: its own state directory, and these variables."""
    return Settings.from_env({"TRITIUM_DIR": str(directory), **environ})
