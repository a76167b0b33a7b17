"""Edge to this process's environment: variables that are set for a while and then as they were."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

__all__ = ["changed"]


@contextmanager
def changed(variables: Mapping[str, str]) -> Iterator[None]:
    """Set ``variables`` for the block; afterwards each is what it was before, or unset again."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
