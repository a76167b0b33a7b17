"""What Spark Connect can do is said once, in code, and the README says the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tritium.errors import SparkFailed
from tritium.spark.capability import CAPABILITIES, refuse_on_connect

README = Path(__file__).parents[2] / "scheduler" / "README.md"


def test_the_readmes_table_is_the_codes() -> None:
    section = README.read_text().partition("## Spark Connect")[2].partition("\n## ")[0]
    rows = [tuple(row) for row in re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", section, re.MULTILINE)]

    assert rows[1:] == [(one.what, one.classic, one.connect) for one in CAPABILITIES]


def test_a_pipeline_on_a_connect_server_is_refused_in_words() -> None:
    with pytest.raises(SparkFailed, match=r"^sc://head is a Spark Connect server, and a pipeline needs"):
        refuse_on_connect("sc://head")

    refuse_on_connect("spark://head:7077")
    refuse_on_connect(None)
