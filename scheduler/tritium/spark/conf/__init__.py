"""Which Spark properties belong together: decided from a cluster and a job, and checked in a file.

Pure, but for `interpreter`, which asks another Python what is installed in it.
"""

from __future__ import annotations

from tritium.spark.conf.check import check
from tritium.spark.conf.decide import Setting, conf, decide
from tritium.spark.conf.finding import Conf, Finding, conf_of
from tritium.spark.conf.wish import CLUSTERS, Cluster, Wish

__all__ = [
    "CLUSTERS",
    "Cluster",
    "Conf",
    "Finding",
    "Setting",
    "Wish",
    "check",
    "conf",
    "conf_of",
    "decide",
]
