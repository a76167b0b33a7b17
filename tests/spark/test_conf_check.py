"""``tritium conf --check``: what it prints, its exit codes, and the Python that it asks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rigs.properties import GOOD
from tritium import cli
from tritium.spark.conf import Cluster, check
from tritium.spark.conf.interpreter import examine, judge


@pytest.mark.parametrize(("cluster", "asks"), [("yarn", True), ("standalone", False), (None, False)])
def test_the_cluster_may_be_said_where_the_file_does_not_tell(cluster: Cluster | None, *, asks: bool) -> None:
    said = check({"spark.executor.resource.gpu.amount": "1"}, cluster=cluster)

    assert asks == any(one.key == "spark.executor.resource.gpu.discoveryScript" for one in said)


def write(folder: Path, values: dict[str, str]) -> Path:
    file = folder / "spark-defaults.conf"
    file.write_text("".join(f"{key}  {value}\n" for key, value in values.items()))
    return file


def test_the_command_prints_the_findings_and_says_that_something_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, {**GOOD, "spark.dynamicAllocation.enabled": "true", "spark.speculation": "true"})

    assert cli.main(["conf", "--check", str(file)]) == 48

    said = capsys.readouterr()
    golden = Path(__file__).with_name("golden") / "conf" / "check.txt"
    assert said.out == golden.read_text()
    assert said.err == f"tritium: {file}: 1 of 2 findings make something fail\n"


def test_what_only_costs_something_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, {**GOOD, "spark.speculation": "true"})

    assert cli.main(["conf", "--check", str(file), "--output", "json"]) == 0

    (finding,) = json.loads(capsys.readouterr().out)
    assert finding["key"] == "spark.speculation"


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["conf", "--check", str(tmp_path / "none.conf")]) == 31

    assert "none.conf cannot be read" in capsys.readouterr().err


def bare_python(folder: Path) -> Path:
    """This very Python without what is installed beside it."""
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    script.chmod(0o755)
    return script


def test_a_python_without_tritium_is_found_by_asking_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, python = write(tmp_path, GOOD), bare_python(tmp_path)

    assert cli.main(["conf", "--check", str(file), "--python", str(python)]) == 48

    assert f"spark.pyspark.python is {python}\n    It has no tritium: every gang" in capsys.readouterr().out


def test_the_python_of_the_file_is_asked_where_it_is_on_this_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, {**GOOD, "spark.pyspark.python": str(bare_python(tmp_path))})

    assert cli.main(["conf", "--check", str(file)]) == 48
    assert "It has no tritium" in capsys.readouterr().out


def test_this_python_has_all_that_an_executor_needs() -> None:
    assert examine(Path(sys.executable)) == ()


def test_a_python_that_does_not_run_is_one_finding(tmp_path: Path) -> None:
    (absent,) = examine(tmp_path / "nowhere")
    (broken,) = examine(Path("/bin/false"))

    assert absent.consequence.startswith("It cannot be started")
    assert broken.consequence == "It does not run: it said nothing."


def test_versions_that_do_not_go_together_are_named() -> None:
    ours = {"python": "3.11.7", "tritium": "0.2.0", "pyspark": "4.2.0", "pyarrow": "20.0"}
    theirs = {**ours, "python": "3.12.1", "tritium": "0.1.0"}

    said = [finding.consequence for finding in judge(Path("p"), theirs=theirs, ours=ours)]

    assert said == [
        "It is Python 3.12.1 and the driver has 3.11.7: Spark refuses every task.",
        "It has tritium 0.1.0 and the driver 0.2.0: what one of them pickles the other may not read.",
    ]


def test_the_command_needs_nothing_but_the_base_install() -> None:
    """Workers have no pyspark; ``-S`` and an import hook would say so if anything asked for it."""
    program = (
        "import sys; sys.modules.update(dict.fromkeys(['pyspark', 'pyarrow', 'numpy', 'rich'])); "
        "from tritium.cli import main; sys.exit(main(['conf', 'local', '--python', '/p/python']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "spark.executor.resource.gpu.amount" in done.stdout
