"""What modules that need a GPU share: the devices that NVML finds, and one executor that owns them all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tritium_discovery import Device, Settings, discover

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="module")
def devices() -> tuple[Device, ...]:
    return discover(Settings.from_env(os.environ)).devices


@pytest.fixture(scope="module")
def spark(devices: tuple[Device, ...]) -> Iterator[SparkSession]:
    from rigs.cluster import cluster

    with cluster(machine=None, workers=1, cores=max(4, len(devices))) as session:
        yield session
