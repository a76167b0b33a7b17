"""Settings and findings as text: a properties file, JSON, and sentences for people."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tritium.spark.conf.decide import Setting
from tritium.spark.conf.finding import Finding

__all__ = ["as_data", "as_properties", "as_text"]

_WIDTH = 100


def as_properties(settings: Sequence[Setting], *, explain: bool) -> str:
    """Write ``spark-defaults.conf``; with ``explain`` the reason stands above each property."""
    column = max(len(setting.key) for setting in settings) + 2
    lines = []
    for setting in settings:
        if explain:
            reader = "The Workers read this. " if setting.reader == "worker" else ""
            lines += ["", *_wrapped(reader + setting.reason, "# ")]
        lines.append(f"{setting.key:<{column}}{setting.value}")
    return "\n".join(lines).lstrip("\n")


def as_data(settings: Sequence[Setting]) -> list[dict[str, Any]]:
    """Return the same for programs."""
    return [asdict(setting) for setting in settings]


def as_text(findings: Sequence[Finding]) -> str:
    """Say each mistake: what it is, what it leads to, what to do instead."""
    return "\n".join(line for finding in findings for line in _lines(finding))


def _lines(finding: Finding) -> list[str]:
    value = "is missing" if finding.value is None else f"is {finding.value}"
    return [
        f"{finding.weight}: {finding.key} {value}",
        *_wrapped(finding.consequence, "    "),
        *_wrapped(f"Instead: {finding.remedy}.", "    "),
    ]


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
