"""Real pipelines on real Spark: what the command prints, survives and refuses."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from rigs.processes import assert_gone, eventually
from rigs.require import absent
from tritium_discovery import Settings, Uuid, discover, holds, state_directory
from tritium_discovery.drain import Drainable

pytestmark = pytest.mark.spark

CODE = """
import os, pathlib, signal, time
import tritium

def fit(data, seconds=0.0, raises=None, killed=None):
    me = tritium.rank()
    with open(me.output.parents[2] / "fits", "a") as log:
        log.write(f"{me.rank}\\n")
    if me.rank == raises:
        raise ValueError("no rows that I like")
    if me.rank == killed:
        os.kill(os.getpid(), signal.SIGKILL)
    for epoch in (1, 2, 3):
        me.report(epoch=epoch, epochs=3, loss=1.0 / epoch)
        time.sleep(seconds)
    if me.rank == 0:
        (me.output / "model.txt").write_text("2")
    me.barrier()
    return {"rows": len(data)}

def check(model, data):
    return {"accuracy": float((model / "model.txt").read_text()) / 2 - 0.01, "rows": len(data)}

def load(device, model):
    factor = float((model / "model.txt").read_text())
    def predict(batch):
        time.sleep(float(os.environ.get("SLOW_PREDICT", "0")))
        return batch["x"] * factor
    return predict

def load_badly(device, model):
    raise RuntimeError("these weights are torn")
"""


def make(folder: Path, **train: Any) -> Path:
    """Write a small project that needs no torch; returns its pipeline file."""
    folder.mkdir()
    (folder / "small.py").write_text(CODE)
    rows = pa.table({"x": pa.array([float(n) for n in range(100)])})
    for part in range(4):
        for name in ("train", "rest"):
            (folder / name).mkdir(exist_ok=True)
            pq.write_table(rows, folder / name / f"part-{part}.parquet")
    (folder / "holdout.csv").write_text("x,y\n1.0,one\n2.0,two\n")
    spec: dict[str, Any] = {
        "train": {"source": {"format": "parquet", "path": "train"}, "run": "small:fit", "ranks": 2, **train},
        "verify": {
            "source": {"format": "csv", "path": "holdout.csv"},
            "run": "small:check",
            "atLeast": {"accuracy": 0.95},
        },
        "infer": {
            "source": {"format": "parquet", "path": "rest"},
            "run": "small:load",
            "batch": 10,
            "sink": {"format": "parquet", "path": "predictions"},
        },
    }
    return save(folder / "pipeline.yaml", spec)


def save(file: Path, spec: Mapping[str, Any]) -> Path:
    document = {"apiVersion": "tritium.dev/v1alpha1", "kind": "Pipeline", "metadata": {"name": "small"}}
    file.write_text(yaml.safe_dump({**document, "spec": spec}))
    return file


def environment(folder: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "TRITIUM_MACHINE": "dgx-a100", "TRITIUM_DIR": str(folder / "claims"), **more}


def tritium(*arguments: str | Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tritium.cli", *map(str, arguments)],
        env=env,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


def killed_at(marker: str, *arguments: str | Path, env: Mapping[str, str]) -> list[str]:
    """Run the pipeline until it says something, then SIGKILL it; returns what it said."""
    said = []
    with subprocess.Popen(
        [sys.executable, "-m", "tritium.cli", "run", *map(str, arguments)],
        env=env,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line.strip())
            if marker in line:
                family = psutil.Process(process.pid).children(recursive=True)
                process.send_signal(signal.SIGKILL)
                break
        else:
            pytest.fail(f"it ended before it said {marker!r}: {said}")
    assert_gone(family, within_s=30)
    return said


def predictions(folder: Path) -> list[Any]:
    return sorted(pq.read_table(folder / "predictions")["prediction"].to_pylist())


@pytest.mark.timeout(600)
def test_a_run_killed_again_and_again_goes_on_where_it_was_and_doubles_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    file = make(folder, params={"seconds": 0.5})
    env = environment(tmp_path, SLOW_PREDICT="0.2")

    # A cluster of our own at first, then Spark in one JVM, which starts faster: where is no matter.
    killed_at("train: rank 0: epoch 2", file, env=env)
    assert not (folder / ".tritium/small/stages").exists()

    killed_at("train: finished", file, "--master", "local[2]", env=env)
    said = killed_at("infer: begins", file, "--master", "local[2]", env=env)
    assert "train: finished before, not run again" in said
    time.sleep(1)
    assert not (folder / "predictions").exists()

    done = tritium("run", file, "--master", "local[2]", env=env)
    assert done.returncode == 0, done.stderr
    assert "train: finished before, not run again" in done.stderr
    assert "verify: finished before, not run again" in done.stderr
    assert predictions(folder) == sorted([2.0 * n for n in range(100)] * 4)
    fits = (folder / ".tritium/small/fits").read_text().split()
    assert sorted(fits) == ["0", "0", "1", "1"]

    again = tritium("run", file, env=env)
    assert again.returncode == 0
    assert "begins" not in again.stderr
    assert again.stdout == done.stdout


@pytest.mark.parametrize(
    ("params", "sentence", "retried"),
    [
        ({"raises": 1}, "train: rank 1 failed: ValueError: no rows that I like", False),
        ({"killed": 0}, "train: rank 0 failed: killed by SIGKILL", True),
    ],
    ids=["raises", "is killed"],
)
def test_a_rank_that_fails_is_a_sentence_and_only_one_that_was_killed_is_tried_again(
    tmp_path: Path, params: dict[str, int], sentence: str, *, retried: bool
) -> None:
    file = make(tmp_path / "small", params=params, retries=1)

    done = tritium("run", file, "--master", "local[2]", env=environment(tmp_path))

    assert done.returncode == 36, done.stderr
    assert done.stdout == ""
    assert (f"train: {sentence}; retry 1 of 1" in done.stderr) == retried
    assert done.stderr.splitlines()[-1] == f"tritium: {sentence}"


TELLING = """
import os
import numpy as np
from tritium_discovery import Settings, holds, state_directory

def load(device, model):
    def predict(batch):
        everybody = holds.held(state_directory(Settings.from_env(os.environ)))
        (mine,) = (one for having in everybody.values() for one in having if one.pid == os.getpid())
        told = f"{mine.mib} MiB, priority {mine.priority}, told {os.environ['TRITIUM_SHARE_MIB']}"
        return np.full(len(batch["x"]), told, dtype=object)
    return predict
"""


def gives_way(uuid: Uuid, *, priority: int, directory: Path, over: threading.Event) -> bool:
    """Hold a device as the busy owner of a model does, until a more important one asks for it."""
    with holds.take([uuid], what="owner of a model", directory=directory) as hold:
        drainable = Drainable(hold.filenos, what="owner of a model", drain_s=5.0, priority=priority)
        while (asked := drainable.asked()) is None and not over.wait(0.1):
            pass
    return asked is not None


def test_stages_ask_with_the_priority_and_the_share_that_the_file_gives_them(tmp_path: Path) -> None:
    file = make(tmp_path / "small", ranks=1, gpu={"priority": 2})
    (tmp_path / "small/telling.py").write_text(TELLING)
    spec = yaml.safe_load(file.read_text())["spec"]
    spec["infer"] |= {"run": "telling:load", "output": "prediction string"}
    spec["infer"]["gpu"] = {"share": "4GiB", "priority": 3}
    save(file, spec)
    env = environment(tmp_path, TRITIUM_MACHINE="one-gpu")
    settings, over = Settings.from_env(env), threading.Event()
    (device,) = discover(settings).devices

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(
            gives_way, device.uuid, priority=1, directory=state_directory(settings), over=over
        )
        try:
            done = tritium("run", file, "--master", "local[2]", env=env)
        finally:
            over.set()

    assert done.returncode == 0, done.stderr
    assert other.result()
    assert set(predictions(tmp_path / "small")) == {"4096 MiB, priority 3, told 4096"}


SCRIPT = """
import argparse
import tritium

parser = argparse.ArgumentParser()
parser.add_argument("--factor", type=float)
factor = parser.parse_args().factor
me = tritium.rank()
assert sum(peer.rows for peer in me.peers) == 400
me.report(rows=len(me.data))
if me.rank == 0:
    (me.output / "model.txt").write_text(str(factor))
"""


def test_a_script_with_arguments_trains_as_well_as_a_function(tmp_path: Path) -> None:
    file = make(tmp_path / "small", run="train.py", args=["--factor", 2])
    (tmp_path / "small/train.py").write_text(SCRIPT)

    done = tritium("run", file, "--master", "local[2]", env=environment(tmp_path))

    assert done.returncode == 0, done.stderr
    assert predictions(tmp_path / "small") == sorted(2.0 * n for n in range(100) for _ in range(4))


def test_a_model_below_the_bar_stops_the_pipeline(tmp_path: Path) -> None:
    file = make(tmp_path / "small")
    spec = yaml.safe_load(file.read_text())["spec"]
    spec["verify"]["atLeast"] = {"accuracy": 0.999}
    save(file, spec)

    done = tritium("run", file, "--master", "local[2]", env=environment(tmp_path))

    assert done.returncode == 40, done.stderr
    sentence = "verify: the model is not used, small:check measured accuracy 0.99, at least 0.999 needed"
    assert done.stderr.splitlines()[-1] == f"tritium: {sentence}"
    assert not (tmp_path / "small/predictions").exists()


def test_a_model_that_does_not_load_is_a_sentence(tmp_path: Path) -> None:
    file = make(tmp_path / "small")
    spec = yaml.safe_load(file.read_text())["spec"]
    spec["infer"]["run"] = "small:load_badly"
    save(file, spec)

    done = tritium("run", file, "--master", "local[2]", env=environment(tmp_path))

    assert done.returncode == 43, done.stderr
    assert done.stderr.splitlines()[-1].endswith("load failed: RuntimeError: these weights are torn")


def test_a_port_that_is_taken_is_a_sentence(tmp_path: Path) -> None:
    file = make(tmp_path / "small")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "conf").mkdir()
        (tmp_path / "conf/spark-defaults.conf").write_text(
            f"spark.driver.port {port}\nspark.port.maxRetries 0\nspark.driver.bindAddress 127.0.0.1\n"
        )
        env = environment(tmp_path, SPARK_CONF_DIR=str(tmp_path / "conf"), SPARK_LOCAL_IP="127.0.0.1")

        done = tritium("run", file, "--master", "local[2]", env=env)

    assert done.returncode == 34, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("tritium: Spark did not start on local[2]: ")
    assert "Address already in use" in last


def test_a_worker_whose_discovery_fails_is_a_sentence(tmp_path: Path) -> None:
    file = make(tmp_path / "small")
    script = Path(sys.executable).with_name("gpu-discover")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/spark-defaults.conf").write_text(
        f"spark.worker.resource.gpu.amount 9\nspark.worker.resource.gpu.discoveryScript {script}\n"
    )
    env = environment(tmp_path, SPARK_CONF_DIR=str(tmp_path / "conf"), SPARK_LOCAL_IP="127.0.0.1")

    done = tritium("run", file, "--master", "local-cluster[1,1,1024]", env=env)

    assert done.returncode == 34, done.stderr
    last = done.stderr.splitlines()[-1]
    assert f"Process List({script}) exited with code 17; more is in " in last


def test_ctrl_c_ends_a_run_and_all_of_its_processes_and_the_next_goes_on(tmp_path: Path) -> None:
    file = make(tmp_path / "small", params={"seconds": 1.0})
    env = environment(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-m", "tritium.cli", "run", str(file), "--master", "local[2]"],
        env=env,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if "epoch 1" in line)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)

    assert_gone(family, within_s=10)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "tritium: interrupted"
    assert "Traceback" not in err
    assert tritium("run", file, "--master", "local[2]", env=env).returncode == 0


def test_a_spark_that_is_killed_under_a_run_is_a_sentence_and_the_next_run_goes_on(tmp_path: Path) -> None:
    file = make(tmp_path / "small", params={"seconds": 1.0})
    env = environment(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-m", "tritium.cli", "run", str(file), "--master", "local[2]"],
        env=env,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if "epoch 1" in line)
        family = psutil.Process(process.pid).children(recursive=True)
        next(child for child in family if child.name() == "java").kill()
        _, err = process.communicate(timeout=120)

    assert_gone(family, within_s=10)
    assert process.returncode == 34, err
    assert err.splitlines()[-1].startswith("tritium: ")
    assert "Traceback" not in err
    assert tritium("run", file, "--master", "local[2]", env=env).returncode == 0


def test_a_host_without_java_is_told_what_to_install(tmp_path: Path) -> None:
    hidden = 'mount -t tmpfs none /usr/lib/jvm && exec "$@"'
    unshare = ["unshare", "--mount", "sh", "-c", hidden, "sh"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode != 0:
        absent("hiding the system's Java needs the right to mount: run as root")
    file = make(tmp_path / "small")
    env = environment(tmp_path)
    env.pop("JAVA_HOME", None)
    env["PATH"] = "/nowhere"

    done = subprocess.run(
        [*unshare, sys.executable, "-m", "tritium.cli", "run", str(file)],
        env={**env, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 33, done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        "tritium: Spark needs Java 17 or newer, and there is no Java here"
    )


@pytest.mark.torch
def test_the_demo_trains_verifies_predicts_and_shows_where(tmp_path: Path) -> None:
    done = tritium("demo", tmp_path / "demo", env=environment(tmp_path))

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["rank", "executor", "device", "product"]
    ranks = [line.split() for line in lines[1:3]]
    assert [rank[0] for rank in ranks] == ["0", "1"]
    assert len({rank[3] for rank in ranks}) == 2
    numbers = dict(line.rsplit("  ", 1) for line in lines if line.startswith(("verified", "rows")))
    assert float(numbers[next(name for name in numbers if "verified accuracy" in name)]) >= 0.95
    assert "epoch 1/12" in done.stderr
    assert "emulated machine dgx-a100" in done.stderr
    used = {
        line.split()[1]: set(line.partition("used ")[2].split(", "))
        for line in done.stderr.splitlines()
        if line.startswith("  executor")
    }
    assert used["0"].isdisjoint(used["1"])
    page = (tmp_path / "demo/.tritium/digits/report.html").read_text()
    assert "The model was trained by 2 ranks" in page
    assert pq.read_table(tmp_path / "demo/predictions").num_rows == 497


def test_ctrl_c_while_spark_starts_leaves_no_jvm(tmp_path: Path) -> None:
    file = make(tmp_path / "project")
    with subprocess.Popen(
        [sys.executable, "-m", "tritium.cli", "run", str(file)],
        env=environment(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("spark: starts")
        family = eventually(lambda: psutil.Process(process.pid).children(recursive=True))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)

    assert process.returncode == 130
    assert said.endswith("tritium: interrupted\n")
    assert_gone(family, within_s=30)


def test_what_only_spark_knows_to_be_wrong_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    file = make(tmp_path / "project")
    spec = yaml.safe_load(file.read_text())["spec"]
    spec["verify"]["source"]["schema"] = "x double, y nonsense"
    save(file, spec)

    schema = tritium("run", file, env=environment(tmp_path))

    assert schema.returncode == 31
    assert "tritium: pipeline small: spec.verify.source.schema: " in schema.stderr
    assert "train: begins" not in schema.stderr
    del spec["verify"]["source"]["schema"]
    spec["infer"]["output"] = "x double"
    save(file, spec)

    column = tritium("run", file, env=environment(tmp_path))

    assert column.returncode == 31
    assert "pipeline small: spec.infer.output: there is a column 'x' already" in column.stderr
    assert "train: begins" not in column.stderr
