"""The mistakes that people make in their Spark properties, each found with its consequence."""

from __future__ import annotations

from typing import Any

import pytest

from rigs.properties import GOOD, KUBERNETES, RAPIDS, YARN
from tritium.errors import BadSpec
from tritium.spark.conf import check
from tritium.spark.conf.check import RULES
from tritium.spark.conf.port import port_of

ABSENT: Any = None


def found(base: dict[str, str], changes: dict[str, Any]) -> list[tuple[str, str, str]]:
    values = {key: value for key, value in {**base, **changes}.items() if value is not ABSENT}
    return [(one.weight, one.key.removeprefix("spark."), one.consequence) for one in check(values)]


MISTAKES: list[tuple[dict[str, str], dict[str, Any], str, str, str]] = [
    (GOOD, {"spark.worker.resource.gpu.amount": "four"}, "wrong", "worker.resource.gpu.amount", "an integer"),
    (
        GOOD,
        {"spark.executor.resource.gpu.amount": "0.5"},
        "wrong",
        "executor.resource.gpu.amount",
        "an integer",
    ),
    (
        GOOD,
        {"spark.task.resource.gpu.amount": "1.5"},
        "wrong",
        "task.resource.gpu.amount",
        "a fraction up to 1",
    ),
    (GOOD, {"spark.task.resource.gpu.amount": "0.5"}, "wrong", "task.resource.gpu.amount", "int('0.5')"),
    (GOOD, {"spark.task.resource.gpu.amount": "1"}, "costly", "task.resource.gpu.amount", "4 of the 8 slots"),
    (
        GOOD,
        {"spark.task.resource.gpu.amount": "1", "spark.executor.cores": ABSENT},
        "costly",
        "task.resource.gpu.amount",
        "run 4 tasks at once, whatever its cores",
    ),
    (
        GOOD,
        {"spark.executor.resource.gpu.amount": ABSENT},
        "wrong",
        "executor.resource.gpu.amount",
        "never given",
    ),
    (
        {},
        {"spark.task.resource.gpu.amount": "1"},
        "wrong",
        "executor.resource.gpu.amount",
        "Spark does not start",
    ),
    (
        GOOD,
        {"spark.executor.resource.gpu.amount": "8"},
        "wrong",
        "executor.resource.gpu.amount",
        "waits for ever",
    ),
    (
        GOOD,
        {"spark.executor.resource.gpu.amount": "3"},
        "costly",
        "worker.resource.gpu.amount",
        "1 of the Worker",
    ),
    (GOOD, {"spark.executor.cores": "2"}, "costly", "executor.cores", "of its 4 devices 2 stay idle"),
    (
        GOOD,
        {"spark.driver.resource.gpu.amount": "1"},
        "costly",
        "driver.resource.gpu.amount",
        "driver claims",
    ),
    (
        GOOD,
        {"spark.worker.resource.gpu.discoveryScript": ABSENT},
        "wrong",
        "worker.resource.gpu.discoveryScript",
        "the worker ends",
    ),
    (
        GOOD,
        {"spark.worker.resource.gpu.discoveryScript": "gpu-discover"},
        "wrong",
        "worker.resource.gpu.discoveryScript",
        "without a shell or a PATH",
    ),
    (
        YARN,
        {"spark.executor.resource.gpu.discoveryScript": ABSENT},
        "wrong",
        "executor.resource.gpu.discoveryScript",
        "the executor ends",
    ),
    (
        YARN,
        {"spark.executor.resource.gpu.discoveryScript": "/opt/spark/getGpusResources.sh"},
        "costly",
        "executor.resource.gpu.discoveryScript",
        "lists every card",
    ),
    (
        YARN,
        {"spark.resources.discoveryPlugin": "com.nvidia.spark.ExclusiveModeGpuDiscoveryPlugin"},
        "costly",
        "resources.discoveryPlugin",
        "nothing is claimed",
    ),
    (KUBERNETES, {}, "wrong", "executor.resource.gpu.vendor", "makes no executor"),
    (
        YARN,
        {"spark.yarn.executor.resource.yarn.io/gpu.amount": "4"},
        "wrong",
        "yarn.executor.resource.yarn.io/gpu.amount",
        "Spark refuses",
    ),
    (GOOD, {"spark.master": "local[4]"}, "wrong", "executor.resource.gpu.amount", "no executors"),
    (YARN, {"spark.driver.host": "127.0.0.1"}, "wrong", "driver.host", "on themselves"),
    (
        GOOD,
        {"spark.master": "spark://head:7077", "spark.driver.host": "localhost"},
        "wrong",
        "driver.host",
        "on themselves",
    ),
    (GOOD, {"spark.tritium.metrics.port": "http"}, "wrong", "tritium.metrics.port", "no port"),
    (GOOD, {"spark.tritium.metrics.port": "65536"}, "wrong", "tritium.metrics.port", "no port"),
    (GOOD, {"spark.tritium.address": "exact"}, "wrong", "tritium.address", "no such property"),
    (GOOD, {"spark.tritium.addresses": "strict"}, "wrong", "tritium.addresses", "Only 'exact'"),
    (GOOD, {"spark.tritium.meeting.port": "http"}, "wrong", "tritium.meeting.port", "no port"),
    (GOOD, {"spark.tritium.meeting.port": "7999"}, "costly", "tritium.meeting.port", "One gang at a time"),
    (
        GOOD,
        {"spark.executorEnv.CUDA_VISIBLE_DEVICES": "0"},
        "wrong",
        "executorEnv.CUDA_VISIBLE_DEVICES",
        "opens the wrong card",
    ),
    (
        GOOD,
        {"spark.executorEnv.CUDA_DEVICE_ORDER": "FASTEST_FIRST"},
        "wrong",
        "executorEnv.CUDA_DEVICE_ORDER",
        "other cards than gpu-discover",
    ),
    (
        GOOD,
        {"spark.dynamicAllocation.enabled": "true"},
        "wrong",
        "dynamicAllocation.enabled",
        "SPARK-24942",
    ),
    (
        RAPIDS,
        {"spark.executor.resource.gpu.amount": "2", "spark.worker.resource.gpu.amount": "2"},
        "wrong",
        "executor.resource.gpu.amount",
        "RAPIDS takes executors of one device",
    ),
    (
        RAPIDS,
        {"spark.tritium.addresses": ABSENT, "spark.executorEnv.TRITIUM_ADDRESSES": ABSENT},
        "wrong",
        "tritium.addresses",
        "both may open the same card",
    ),
    (
        RAPIDS,
        {"spark.rapids.memory.gpu.allocFraction": ABSENT},
        "costly",
        "rapids.memory.gpu.allocFraction",
        "find none",
    ),
    (
        RAPIDS,
        {"spark.python.daemon.module": "rapids.daemon"},
        "costly",
        "python.daemon.module",
        "RAPIDS's daemon has no fork server",
    ),
    (
        RAPIDS,
        {"spark.executorEnv.TRITIUM_ADDRESSES": ABSENT},
        "costly",
        "executorEnv.TRITIUM_ADDRESSES",
        "RDD jobs do not see it",
    ),
    (
        GOOD,
        {"spark.executorEnv.TRITIUM_ADDRESSES": "exact"},
        "costly",
        "tritium.addresses",
        "Only RDD jobs are sure",
    ),
    (
        GOOD,
        {"spark.task.resource.gpu.amount": "1"},
        "costly",
        "python.worker.reuse",
        "keep whatever an earlier task left",
    ),
    (GOOD, {"spark.speculation": "true"}, "costly", "speculation", "second device"),
    (
        GOOD,
        {"spark.scheduler.minRegisteredResourcesRatio": "0.5"},
        "costly",
        "scheduler.minRegisteredResourcesRatio",
        "before its executors",
    ),
    (GOOD, {"spark.io.encryption.enabled": "true"}, "costly", "io.encryption.enabled", "in a plain file"),
    (GOOD, {"spark.network.crypto.enabled": "true"}, "costly", "network.crypto.enabled", "not encrypted"),
    (GOOD, {"spark.python.daemon.module": ABSENT}, "costly", "python.daemon.module", "no fork server"),
    (
        GOOD,
        {"spark.python.daemon.module": "tritium.train.deamon"},
        "wrong",
        "python.daemon.module",
        "no such",
    ),
    (GOOD, {"spark.python.daemon.module": "my.daemon"}, "costly", "python.daemon.module", "of Tritium's"),
    (GOOD, {"spark.python.use.daemon": "false"}, "costly", "python.use.daemon", "a Python of its own"),
    (GOOD, {"spark.python.worker.reuse": "false"}, "costly", "python.worker.reuse", "gains nothing"),
    (
        GOOD,
        {"spark.python.worker.killOnIdleTimeout": "true", "spark.python.worker.idleTimeoutSeconds": "600"},
        "wrong",
        "python.worker.killOnIdleTimeout",
        "after 600 s",
    ),
    (GOOD, {"spark.executor.pyspark.memory": "8g"}, "wrong", "executor.pyspark.memory", "RLIMIT_AS"),
    (
        GOOD,
        {"spark.executorEnv.OMP_NUM_THREADS": "1"},
        "costly",
        "executorEnv.OMP_NUM_THREADS",
        "do not heed it",
    ),
    (GOOD, {"spark.pyspark.python": ABSENT}, "costly", "pyspark.python", "must have Tritium"),
]


@pytest.mark.parametrize(("base", "changes", "weight", "key", "says"), MISTAKES)
def test_a_mistake_is_found_with_its_consequence(
    base: dict[str, str], changes: dict[str, Any], weight: str, key: str, says: str
) -> None:
    said = found(base, changes)

    assert [one for one in said if one[:2] == (weight, key) and says in one[2]], said


@pytest.mark.parametrize(
    "base", [GOOD, YARN, {**KUBERNETES, "spark.executor.resource.gpu.vendor": "v"}, RAPIDS, {}]
)
def test_good_properties_have_no_mistake(base: dict[str, str]) -> None:
    said = found(base, {})

    # An empty file has one cost: ranks that start without a fork server.
    assert [one[1] for one in said] == ([] if base else ["python.daemon.module"])


def test_every_rule_has_a_mistake_here() -> None:
    caught = set()
    for base, changes, *_ in MISTAKES:
        values = {key: value for key, value in {**base, **changes}.items() if value is not ABSENT}
        from tritium.spark.conf import conf_of

        caught |= {rule for rule in RULES if any(rule(conf_of(values, cluster=None)))}

    assert caught == set(RULES)


def test_what_fails_comes_first() -> None:
    weights = [
        one[0] for one in found(GOOD, {"spark.speculation": "true", "spark.task.resource.gpu.amount": "0.5"})
    ]

    assert weights == sorted(weights, reverse=True)
    assert set(weights) == {"wrong", "costly"}


@pytest.mark.parametrize("value", ["http", "-1", "65536", "7.5"])
def test_what_is_no_port_is_refused_in_a_sentence_where_it_is_used(value: str) -> None:
    with pytest.raises(BadSpec) as caught:
        port_of("spark.tritium.metrics.port", value)

    assert str(caught.value) == f"spark.tritium.metrics.port: {value!r} is no port; give a number up to 65535"
