"""The edge to the user's code where it runs: in a rank, or in an inference task; never in the driver."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from tritium.pipeline.spec import Target

__all__ = ["Check", "Fit", "Load"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Remote:
    """A function of the user's by name: small to send, imported where it is called."""

    folder: Path
    """The code as it was when the run began, out of the store."""
    target: Target

    def function(self) -> Any:
        """Import the module and return the function."""
        _enter(self.folder)
        return getattr(importlib.import_module(self.target.module), self.target.function)

    def numbers(self, returned: object) -> dict[str, float]:
        """Take what the function returned as metrics.

        Raises:
            TypeError: it is no dictionary of numbers.
        """
        if isinstance(returned, Mapping):
            try:
                return {str(name): float(value) for name, value in returned.items()}
            except (TypeError, ValueError):
                pass
        raise TypeError(f"{self.target} returned {returned!r:.200}, expected a dictionary of numbers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit(_Remote):
    """``fit(data, **params) -> dict``, called on every rank."""

    params: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, data: Any) -> dict[str, float]:
        """Train; a function that returns nothing has no metrics."""
        returned = self.function()(data, **self.params)
        return {} if returned is None else self.numbers(returned)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check(_Remote):
    """``check(model, data) -> dict``, called on one rank without a device."""

    model: Path

    def __call__(self, data: Any) -> dict[str, float]:
        """Measure."""
        return self.numbers(self.function()(self.model, data))


@dataclass(frozen=True, slots=True, kw_only=True)
class Load(_Remote):
    """``load(device, model) -> predict``, called once per device."""

    def __call__(self, device: Any, model: Path) -> Any:
        """Load the model onto a device."""
        return self.function()(device, model)


_entered: list[str] = []
"""The one folder whose modules this process imports."""


def _enter(folder: Path) -> None:
    """Put a folder before everything else on the path.

    A Python worker may have served another version of the same code before: its modules must go.
    """
    for old in _entered:
        if old != str(folder):
            stale = [name for name, module in sys.modules.items() if _is_in(old, module)]
            for name in stale:
                del sys.modules[name]
    sys.path[:] = [str(folder), *(path for path in sys.path if path not in (*_entered, str(folder)))]
    _entered[:] = [str(folder)]


def _is_in(folder: str, module: ModuleType) -> bool:
    return str(getattr(module, "__file__", "")).startswith(folder + os.sep)
