"""A driver program for tests: an inference job of six slow tasks in plain ``local[2]``."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

import tritium


def slowly(_: Any) -> Any:
    def predict(batch: Any) -> Any:
        time.sleep(1)
        return batch["id"]

    return predict


def main() -> None:
    spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    print(json.dumps({"began": time.time()}), flush=True)
    rows = tritium.predict(spark.range(0, 60, 1, 6), model=slowly, report=Path(sys.argv[1])).collect()
    print(json.dumps({"rows": len(rows)}), flush=True)
    spark.stop()


if __name__ == "__main__":
    main()
