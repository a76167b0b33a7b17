"""What each framework wants to find in a rank: contract in, environment out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tritium.train.contract import Contract
from tritium.train.frameworks import torch

__all__ = ["FRAMEWORKS"]

FRAMEWORKS: Mapping[str, Callable[[Contract], Mapping[str, str]]] = {"torch": torch.environment}
"""Name in ``Gang(framework=...)`` -> the variables that its ranks get beside the common ones."""
