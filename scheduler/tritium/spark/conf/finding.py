"""What is read of a file of Spark properties, and what can be said against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tritium.spark.conf.wish import Cluster

__all__ = ["Conf", "Finding", "conf_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One mistake, with what it leads to."""

    weight: Literal["wrong", "costly"]
    """``wrong``: something fails, or uses another device than it should; ``costly``: it works, worse."""
    key: str
    value: str | None
    """``None`` where the property is missing."""
    consequence: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conf:
    """A set of properties and where they apply."""

    values: Mapping[str, str]
    cluster: Cluster | None
    """``None``: it is not said, and the file does not tell."""
    threads: bool = False
    """Whether tasks are threads of the driver (``local[N]``), with no executor at all."""

    def number(self, key: str) -> float | None:
        """The value as a number; ``None`` where it is missing, or none."""
        try:
            return float(self.values[key])
        except (KeyError, ValueError):
            return None

    def on(self, key: str, *, default: bool = False) -> bool:
        """The value as true or false."""
        return self.values.get(key, str(default)).strip().lower() == "true"

    def wrong(self, key: str, consequence: str, remedy: str) -> Finding:
        """Say that a property makes something fail."""
        return self._finding("wrong", key, consequence, remedy)

    def costly(self, key: str, consequence: str, remedy: str) -> Finding:
        """Say that a property makes something worse than it could be."""
        return self._finding("costly", key, consequence, remedy)

    def _finding(
        self, weight: Literal["wrong", "costly"], key: str, consequence: str, remedy: str
    ) -> Finding:
        return Finding(
            weight=weight, key=key, value=self.values.get(key), consequence=consequence, remedy=remedy
        )


def conf_of(values: Mapping[str, str], *, cluster: Cluster | None) -> Conf:
    """Read a set of properties; without a word from the caller the cluster is told from ``spark.master``.

    >>> conf_of({"spark.master": "k8s://https://api:6443"}, cluster=None).cluster
    'kubernetes'
    """
    master = values.get("spark.master", "")
    kinds: tuple[tuple[str, Cluster], ...] = (
        ("local-cluster", "local"),
        ("spark://", "standalone"),
        ("yarn", "yarn"),
        ("k8s://", "kubernetes"),
    )
    told = next((kind for start, kind in kinds if master.startswith(start)), None)
    threads = master.startswith("local") and told is None
    return Conf(values=values, cluster=cluster or told, threads=threads and cluster is None)
