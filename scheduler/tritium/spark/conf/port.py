"""Decides what of Spark's properties is a port."""

from __future__ import annotations

from tritium.errors import BadSpec

__all__ = ["PORTS", "is_port", "port_of"]

PORTS = 65_535
"""The highest there is."""


def is_port(text: str) -> bool:
    """Whether a property's value is one; 0 lets the system choose."""
    return text.isascii() and text.isdigit() and int(text) <= PORTS


def port_of(key: str, value: str | None) -> int:
    """Return the port that a property asks for, 0 where it is missing.

    >>> port_of("spark.tritium.meeting.port", "7999"), port_of("spark.tritium.meeting.port", None)
    (7999, 0)

    Raises:
        BadSpec: the value is none.
    """
    if not value:
        return 0
    if not is_port(value):
        raise BadSpec(key, [f"{value!r} is no port; give a number up to {PORTS}"])
    return int(value)
