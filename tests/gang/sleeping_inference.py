"""A driver program for tests: an inference job of two tasks whose models never answer.

Says ``begins`` when its session is there and the job is about to be submitted.
"""

from __future__ import annotations

import json
import time
from typing import Any

import tritium


def stuck(_: Any) -> Any:
    def predict(batch: Any) -> Any:
        time.sleep(300)
        return batch["id"]

    return predict


def main() -> None:
    spark = tritium.session(machine="dgx-a100", workers=2, gpus=2)
    print(json.dumps({"begins": True}), flush=True)
    tritium.predict(spark.range(0, 2, 1, 2), model=stuck).collect()


if __name__ == "__main__":
    main()
