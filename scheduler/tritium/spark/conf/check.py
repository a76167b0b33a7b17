"""Decides which mistakes a set of Spark properties holds, each with its consequence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from tritium.spark.conf import check_amounts, check_places, check_python, check_sharing
from tritium.spark.conf.finding import Conf, Finding, conf_of
from tritium.spark.conf.wish import Cluster

__all__ = ["RULES", "check"]

RULES: tuple[Callable[[Conf], Iterator[Finding]], ...] = (
    *check_amounts.RULES,
    *check_places.RULES,
    *check_sharing.RULES,
    *check_python.RULES,
)


def check(values: Mapping[str, str], *, cluster: Cluster | None = None) -> tuple[Finding, ...]:
    """Find all mistakes, those that make something fail first.

    >>> [finding.key for finding in check({"spark.dynamicAllocation.enabled": "true"})][:1]
    ['spark.dynamicAllocation.enabled']
    """
    conf = conf_of(values, cluster=cluster)
    found = [finding for rule in RULES for finding in rule(conf)]
    return tuple(sorted(found, key=lambda finding: finding.weight != "wrong"))
