"""Every command and every example in the README works as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import tritium_discovery.errors as discovery_errors
from rigs.standalone import Standalone
from tritium import errors
from tritium.pipeline.parse import parse

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """All fenced blocks, with their language."""
    yield from re.findall(r"^```(\w+)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def block(language: str, holds: str) -> str:
    """The one block of a language that holds a word."""
    (found,) = [code for kind, code in blocks(README) if kind == language and holds in code]
    return found


def environment(folder: Path, **more: str) -> Mapping[str, str]:
    own = {name: value for name, value in os.environ.items() if name != "TRITIUM_MACHINE"}
    return {**own, "TRITIUM": str(Path(sys.prefix).parent), "TRITIUM_DIR": str(folder / "claims"), **more}


def shell(
    script: str, *, cwd: Path, env: Mapping[str, str], limit_s: float = 280
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """The folder of the first pipeline, filled by copying from the README."""
    folder = tmp_path / "first"
    folder.mkdir()
    (folder / "first.py").write_text(block("python", "all_gather"))
    (folder / "pipeline.yaml").write_text(block("yaml", "kind: Pipeline"))
    return folder


def test_no_block_of_commands_is_left_without_a_test() -> None:
    commands = [code for kind, code in blocks(README) if kind == "sh"]

    assert commands == [block("sh", "make demo"), block("sh", "tritium plan"), block("sh", "--master")]


@pytest.mark.install
@pytest.mark.torch
@pytest.mark.timeout(900)
def test_the_first_command_is_all_that_a_fresh_clone_with_an_empty_home_needs(tmp_path: Path) -> None:
    demo, _ = block("sh", "make demo").splitlines()
    clone, home = tmp_path / "clone", tmp_path / "home"
    for folder in (clone, home):
        folder.mkdir()
    shell(f"git ls-files -z | xargs -0 cp --parents -t {clone}", cwd=ROOT, env=os.environ)
    own = str(Path(sys.executable).parent)
    env = {
        name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "TRITIUM_", "COV"))
    }
    env["PATH"] = ":".join(part for part in env["PATH"].split(":") if part != own)
    downloaded = env.get("UV_CACHE_DIR", str(Path.home() / ".cache/uv"))  # 3 GB that need not come twice

    done = shell(demo, cwd=clone, env={**env, "HOME": str(home), "UV_CACHE_DIR": downloaded}, limit_s=800)

    assert "accuracy" in done.stdout
    assert (clone / "out/demo/.tritium/digits/report.html").is_file()
    shutil.rmtree(clone)


def test_the_second_command_is_what_ci_runs() -> None:
    _, test = block("sh", "make demo").splitlines()

    assert (ROOT / ".ci/run").read_text().splitlines()[-1] == f"exec {test}"


def test_the_first_pipeline_has_no_more_than_twenty_lines(first: Path) -> None:
    lines = [line for file in first.iterdir() for line in file.read_text().splitlines() if line]

    assert len(lines) <= 20


def test_the_pipeline_of_the_schedulers_readme_is_valid() -> None:
    import yaml

    text = (ROOT / "scheduler" / "README.md").read_text()
    (document,) = [code for kind, code in blocks(text) if kind == "yaml"]

    assert parse(yaml.safe_load(document), folder=ROOT, where="README").name == "digits"


def test_the_table_of_exit_codes_is_complete() -> None:
    rows = dict(re.findall(r"^\| (\d+) \| (.+) \|$", README, flags=re.MULTILINE))
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {kind.exit_code for kind in kinds if issubclass(kind, errors.TritiumError)}

    assert {str(code) for code in codes | {0, 1, 2, 130, 141}} == rows.keys()


def test_discoverys_exit_codes_are_in_the_range_that_the_table_gives_them() -> None:
    kinds = [kind for kind in vars(discovery_errors).values() if isinstance(kind, type)]
    codes = {kind.exit_code for kind in kinds if issubclass(kind, discovery_errors.DiscoveryError)}

    assert {code for code in codes if not 10 <= code <= 29} <= {1, 2}


def test_the_readmes_link_to_files_that_are_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.process
def test_the_commands_that_decide_and_check_a_clusters_properties_work_one_after_the_other(
    tmp_path: Path,
) -> None:
    own = str(Path(sys.executable).parent)
    made, checked = (
        command.replace("/opt/venv/bin", own)
        for command in re.findall(r"`(tritium conf [^`]+ [^`]+ .*?)`", README)
    )
    env = environment(tmp_path, PATH=f"{own}:{os.environ['PATH']}")

    done = shell(f"{made} > spark-defaults.conf && {checked}", cwd=tmp_path, env=env)

    assert "spark-defaults.conf: nothing in it fails" in done.stderr


@pytest.mark.spark
def test_the_first_pipeline_plans_runs_and_is_then_finished(first: Path) -> None:
    done = shell(block("sh", "tritium plan"), cwd=first, env=environment(first.parent))

    assert "pipeline first: 2 Workers of 2 cores, 2 devices emulated (two-t4)" in done.stdout
    assert done.stderr.count("train: finished in") == 1
    assert done.stderr.count("finished before, not run again") == 2
    centred = pq.read_table(first / "centred").to_pydict()
    assert sorted(centred["prediction"]) == [-2.0, -1.0, 0.0, 3.0]


@pytest.mark.spark
def test_the_notebook_example_runs(tmp_path: Path) -> None:
    (tmp_path / "notebook.py").write_text(block("python", "tritium.session"))

    done = shell(f"{sys.executable} notebook.py", cwd=tmp_path, env=environment(tmp_path))

    assert "(500, ['GPU-" in done.stdout
    assert "|  4|       8.0|" in done.stdout


@pytest.mark.spark
def test_the_conf_lines_make_a_cluster_schedule_exact_devices(first: Path) -> None:
    conf = block("properties", "discoveryScript").replace("/opt/venv/bin", str(Path(sys.executable).parent))
    (first / "spark-defaults.conf").write_text(conf)
    (first / "x.csv").write_text("x\n1\n2\n3\n6\n")
    env = environment(
        first.parent,
        PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        SPARK_CONF_DIR=str(first),
        SPARK_LOCAL_IP="127.0.0.1",
        TRITIUM_MACHINE="dgx-a100",
        PYSPARK_PYTHON=sys.executable,
    )
    logs = first.parent / "logs"
    logs.mkdir()
    with Standalone(logs) as cluster:
        for name in ("worker-0", "worker-1"):
            cluster.worker(name, conf={}, environ=env, cores=2).said("Successfully registered")
        done = shell(block("sh", "--master"), cwd=first, env={**env, "MASTER_URL": cluster.url})

    rows = [line.split() for line in done.stdout.splitlines()[1:3]]
    assert {row[2] for row in rows} <= {"0", "1"}
    assert len({row[3] for row in rows}) == 2
    assert all(row[3].startswith("GPU-") for row in rows)
