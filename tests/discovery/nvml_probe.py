"""Run by tests in a fresh process under the C library: print what was observed, pickled."""

import pickle
import sys

from tritium_discovery.errors import DiscoveryError
from tritium_discovery.nvml import observe

try:
    found: object = observe(topology=True, known=None)
except DiscoveryError as err:
    found = err
sys.stdout.buffer.write(pickle.dumps(found))
