"""What modules of streams share: a broker, and Spark with the connectors of topics and tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from rigs.kafka import Broker


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    """Two threads on two emulated cards."""
    from rigs.cluster import local
    from rigs.jars import DELTA, DELTA_CONF, KAFKA, for_spark

    conf = {"spark.jars": for_spark(KAFKA, DELTA), **DELTA_CONF}
    with local(2, machine="two-t4", conf=conf) as session:
        yield session


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker without topics."""
    from rigs.kafka import broker

    with broker(tmp_path_factory.mktemp("kafka")) as running:
        yield running
