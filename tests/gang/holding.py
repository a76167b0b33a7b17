"""What gangs of tests do that only have a device for a while."""

from __future__ import annotations

import sys
import time

from pyspark import cloudpickle

import tritium

__all__ = ["use"]

cloudpickle.register_pickle_by_value(sys.modules[__name__])


def use() -> tuple[str, float, float]:
    """Work for two seconds; returns the device, and when that began and ended."""
    began = time.time()
    time.sleep(2)
    return tritium.rank().devices[0].uuid, began, time.time()
