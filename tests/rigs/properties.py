"""Spark properties without a mistake, of each kind of cluster."""

from __future__ import annotations

__all__ = ["GOOD", "KUBERNETES", "RAPIDS", "YARN"]

GOOD = {
    "spark.master": "spark://head:7077",
    "spark.worker.resource.gpu.amount": "4",
    "spark.worker.resource.gpu.discoveryScript": "/opt/venv/bin/gpu-discover",
    "spark.executor.resource.gpu.amount": "4",
    "spark.executor.cores": "8",
    "spark.pyspark.python": "/opt/venv/bin/python",
    "spark.python.daemon.module": "tritium.train.daemon",
}

YARN = {
    "spark.master": "yarn",
    "spark.executor.resource.gpu.amount": "4",
    "spark.executor.resource.gpu.discoveryScript": "/opt/venv/bin/gpu-discover",
    "spark.pyspark.python": "/opt/venv/bin/python",
    "spark.python.daemon.module": "tritium.train.daemon",
}

KUBERNETES = {**YARN, "spark.master": "k8s://https://api:6443"}

RAPIDS = {
    **GOOD,
    "spark.worker.resource.gpu.amount": "1",
    "spark.executor.resource.gpu.amount": "1",
    "spark.plugins": "com.nvidia.spark.SQLPlugin",
    "spark.tritium.addresses": "exact",
    "spark.executorEnv.TRITIUM_ADDRESSES": "exact",
    "spark.rapids.memory.gpu.allocFraction": "0.4",
}
