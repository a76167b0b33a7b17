"""What tests of pages share: note which columns of lists were read from their pages."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tritium.spark import splits_read
from tritium.spark.pages import Chunk, Unlike, equal_lists

__all__ = ["short_ways"]


def short_ways(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Note for each column of a row group whose pages were looked at whether they were understood."""
    taken: list[bool] = []

    def noted(stored: memoryview, chunk: Chunk) -> pa.Buffer:
        try:
            found = equal_lists(stored, chunk)
        except Unlike:
            taken.append(False)
            raise
        taken.append(True)
        return found

    monkeypatch.setattr(splits_read, "equal_lists", noted)
    return taken
