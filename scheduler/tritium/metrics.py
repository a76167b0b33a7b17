"""Edge to Prometheus: what this driver's gangs hold and do, with the label that joins with DCGM's metrics.

Needs ``pip install 'tritium[metrics]'``. `serve` answers over HTTP; where the application's configuration has
``spark.tritium.metrics.port`` its first gang calls it. A driver with an endpoint of its own registers
`Gangs` there instead.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tritium.errors import BadSpec
from tritium.train.board import BOARD, Board

if TYPE_CHECKING:
    from prometheus_client import Metric

__all__ = ["Gangs", "serve"]

_serving = threading.Lock()
_ports: dict[int, int] = {}


class Gangs:
    """A collector (https://prometheus.github.io/client_python/collector/custom/) of a board."""

    def __init__(self, board: Board = BOARD) -> None:
        self._board = board

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it is now."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        held = GaugeMetricFamily(
            "tritium_device_held",
            "1 for each device that a rank of a gang holds",
            labels=["UUID", "gang", "attempt", "rank", "host", "executor"],
        )
        running = GaugeMetricFamily("tritium_gang_ranks", "Ranks that run", labels=["gang", "attempt"])
        reported = GaugeMetricFamily(
            "tritium_gang_report", "The last number that a rank reported", labels=["gang", "rank", "name"]
        )
        memory = GaugeMetricFamily(
            "tritium_rank_peak_bytes", "Most memory of a rank that ended", labels=["gang", "rank", "kind"]
        )
        for owner, entry in self._board.entries().items():
            running.add_metric([entry.gang, owner], len(entry.running))
            for member in entry.members:
                for uuid in member.devices if member.rank in entry.running else ():
                    where = [str(member.rank), member.host, member.pool]
                    held.add_metric([uuid, entry.gang, owner, *where], 1)
            for rank, numbers in entry.reported.items():
                for name, number in numbers.items():
                    reported.add_metric([entry.gang, str(rank), name], number)
            for rank, peak in entry.peaks.items():
                for kind, mib in (("host", peak.host_mib), ("device", peak.device_mib)):
                    if mib is not None:
                        memory.add_metric([entry.gang, str(rank), kind], mib << 20)
        attempts = CounterMetricFamily(
            "tritium_gang_attempts", "Attempts that ended, by how", labels=["gang", "outcome"]
        )
        for (gang, how), count in self._board.ended().items():
            attempts.add_metric([gang, how], count)
        yield from (held, running, reported, memory, attempts)


def serve(port: int = 0, *, bind: str = "") -> int:
    """Answer Prometheus on a port, from now on until the process ends; returns the port.

    Called again for a port that it serves already, it only says so.

    Raises:
        BadSpec: prometheus_client is not installed, or the port cannot be listened on.
    """
    with _serving:
        if port in _ports:
            return _ports[port]
        try:
            from prometheus_client import CollectorRegistry, start_http_server
        except ImportError as err:
            raise BadSpec("metrics", ["pip install 'tritium[metrics]'"]) from err
        registry = CollectorRegistry(auto_describe=False)
        registry.register(Gangs())
        try:
            server: Any = start_http_server(port, addr=bind or "0.0.0.0", registry=registry)[0]  # noqa: S104  as Spark's own UI
        except OSError as err:
            where = f"{bind or '*'}:{port}"
            raise BadSpec("metrics", [f"the port {where} cannot be listened on: {err.strerror}"]) from err
        _ports[port] = int(server.server_port)
        return _ports[port]
