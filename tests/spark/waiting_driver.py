"""A driver program for tests: says which devices its executors own (``pools``), waits for ``stop``."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import tritium


def look(_: Any) -> Any:
    from tritium.spark.inventory import task_view

    view = task_view(None, environ=os.environ)
    yield view.pool_name, list(view.pool)


def main() -> None:
    spark = tritium.session("dgx-a100", gpus=int(sys.argv[1]))
    pools = dict(spark.sparkContext.parallelize(range(8), 8).mapPartitions(look).collect())
    print(json.dumps({"pools": list(pools.values())}), flush=True)
    sys.stdin.readline()
    spark.stop()
    print(json.dumps({"stopped": True}), flush=True)


if __name__ == "__main__":
    main()
