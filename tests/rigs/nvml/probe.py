"""Run by tests in a fresh process under the C library: print what was observed, pickled."""

import pickle
import sys
from pathlib import Path

from tritium_discovery.errors import DiscoveryError
from tritium_discovery.nvml import observe


def main(sysfs: Path) -> None:
    try:
        found: object = observe(topology=True, known=None, sysfs=sysfs)
    except DiscoveryError as err:
        found = err
    sys.stdout.buffer.write(pickle.dumps(found))


if __name__ == "__main__":  # pytest imports every module for its doctests
    main(Path(sys.argv[1]))
