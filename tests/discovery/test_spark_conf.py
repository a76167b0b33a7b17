"""Where Spark leaves the amount, and Spark's rules for an answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritium_discovery import BadSetting
from tritium_discovery.acceptance import accept
from tritium_discovery.spark import Amount, find_amount, find_script, properties

WORKER = ("java", "-cp", "x", "org.apache.spark.deploy.worker.Worker", "spark://h:7077")
EXECUTOR = ("java", "org.apache.spark.executor.CoarseGrainedExecutorBackend", "--executor-id", "0")
YARN = ("java", "org.apache.spark.executor.YarnCoarseGrainedExecutorBackend")


def amount(
    jvm: tuple[str, ...], directory: Path, environ: dict[str, str] | None = None
) -> tuple[int, str] | None:
    found: Amount | None = find_amount(jvm=jvm, environ=environ or {}, directory=directory)
    return None if found is None else (found.devices, found.where.replace(str(directory), "DIR"))


def count(jvm: tuple[str, ...], directory: Path, environ: dict[str, str] | None = None) -> int | None:
    found = amount(jvm, directory, environ)
    return None if found is None else found[0]


def test_a_worker_has_it_on_its_command_line(tmp_path: Path) -> None:
    jvm = ("java", "-Dspark.worker.resource.gpu.amount=2", *WORKER[1:])

    assert amount(jvm, tmp_path) == (2, "spark.worker.resource.gpu.amount on the command line of the JVM")


def test_a_worker_has_it_in_its_options_variable(tmp_path: Path) -> None:
    options = "-Dother=1 -Dspark.worker.resource.gpu.amount=3 '-Dwith=a space'"

    found = amount(WORKER, tmp_path, {"SPARK_WORKER_OPTS": options})

    assert found == (3, "spark.worker.resource.gpu.amount in SPARK_WORKER_OPTS")


@pytest.mark.parametrize("variable", ["SPARK_CONF_DIR", "SPARK_HOME"])
def test_a_worker_has_it_in_the_defaults_file(tmp_path: Path, variable: str) -> None:
    folder = tmp_path if variable == "SPARK_CONF_DIR" else tmp_path / "conf"
    folder.mkdir(exist_ok=True)
    (folder / "spark-defaults.conf").write_text(
        "# x\nspark.worker.resource.gpu.amount   4\n", encoding="utf-8"
    )

    assert amount(WORKER, tmp_path, {variable: str(tmp_path)}) == (
        4,
        f"spark.worker.resource.gpu.amount in {folder}/spark-defaults.conf".replace(str(tmp_path), "DIR"),
    )


def test_a_worker_may_be_given_another_properties_file(tmp_path: Path) -> None:
    (tmp_path / "own.conf").write_text("spark.worker.resource.gpu.amount=5", encoding="utf-8")

    assert count((*WORKER, "--properties-file", "own.conf"), tmp_path) == 5


def test_an_executor_on_yarn_has_it_in_the_configuration_that_travels_with_it(tmp_path: Path) -> None:
    (tmp_path / "__spark_conf__").mkdir()
    file = tmp_path / "__spark_conf__" / "__spark_conf__.properties"
    file.write_text(
        "spark.executor.resource.gpu.amount=1\nspark.driver.resource.gpu.amount=7\n", encoding="utf-8"
    )

    assert count(YARN, tmp_path) == 1


def test_an_executor_does_not_take_the_amount_of_a_worker_for_its_own(tmp_path: Path) -> None:
    environ = {"SPARK_WORKER_OPTS": "-Dspark.worker.resource.gpu.amount=8"}

    assert amount(EXECUTOR, tmp_path, environ) is None


def test_a_driver_with_workers_inside_asks_for_the_workers(tmp_path: Path) -> None:
    jvm = (
        "java",
        "org.apache.spark.deploy.SparkSubmit",
        "--conf",
        "spark.worker.resource.gpu.amount=4",
        "pyspark-shell",
    )

    assert count(jvm, tmp_path) == 4


def test_two_different_amounts_in_one_jvm_are_refused(tmp_path: Path) -> None:
    conf = [
        word for part, wanted in (("worker", 4), ("driver", 1)) for word in ("--conf", _conf(part, wanted))
    ]

    with pytest.raises(BadSetting, match="say TRITIUM_GPU_AMOUNT"):
        amount(("java", *conf), tmp_path)


def _conf(part: str, wanted: int) -> str:
    return f"spark.{part}.resource.gpu.amount={wanted}"


def test_the_stronger_place_wins(tmp_path: Path) -> None:
    (tmp_path / "spark-defaults.conf").write_text("spark.worker.resource.gpu.amount 1", encoding="utf-8")
    environ = {"SPARK_CONF_DIR": str(tmp_path), "SPARK_WORKER_OPTS": "-Dspark.worker.resource.gpu.amount=2"}

    assert count(WORKER, tmp_path, environ) == 2
    assert count(("java", "-Dspark.worker.resource.gpu.amount=3"), tmp_path, environ) == 3


@pytest.mark.parametrize("text", ["two", "-1", "", "1.5"])
def test_an_amount_that_is_no_count_is_refused_with_its_place(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadSetting, match="on the command line of the JVM"):
        amount(("java", f"-Dspark.worker.resource.gpu.amount={text}"), tmp_path)


def test_the_script_is_found_where_the_amount_is(tmp_path: Path) -> None:
    jvm = ("java", "-Dspark.worker.resource.gpu.discoveryScript=/opt/gpu-discover")

    assert find_script(jvm=jvm, environ={}, directory=tmp_path) == "/opt/gpu-discover"
    assert find_script(jvm=WORKER, environ={}, directory=tmp_path) is None


def test_options_that_cannot_be_split_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="SPARK_WORKER_OPTS: No closing quotation"):
        amount(WORKER, tmp_path, {"SPARK_WORKER_OPTS": "-Da='"})


@given(st.text())
def test_no_properties_file_makes_it_fail(text: str) -> None:
    assert all(isinstance(value, str) for value in properties(text).values())


TEXT = st.text(st.characters(exclude_characters="\0"))


@given(words=st.lists(TEXT), options=TEXT)
def test_no_command_line_makes_it_fail_in_another_way(
    words: list[str], options: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    try:
        find_amount(
            jvm=tuple(words), environ={"SPARK_WORKER_OPTS": options}, directory=tmp_path_factory.getbasetemp()
        )
    except BadSetting as err:
        assert str(err)  # noqa: PT017 - either outcome is right, and nothing else is


@pytest.mark.parametrize(
    ("stdout", "sentences"),
    [
        # Each row was tried on Spark: reference of ResourceDiscoveryScriptPlugin.
        ('{\n  "name": "gpu",\n  "addresses": ["0"]\n}', []),
        ('{"name": "gpu", "addresses": ["0"], "devices": [{"uuid": "x"}]}', []),
        ('{"name": "gpu", "addresses": [0]}', []),
        ('{"name": "gpu", "addresses": ["0"]} trailing', []),
        ('warning\n{"name": "gpu", "addresses": ["0"]}', ["refused: there is no JSON at the beginning"]),
        ("", ["refused: there is no JSON at the beginning"]),
        ('{"name": "gpu", "addresses": []}', ["refused: 0 addresses are fewer than the 1 asked for"]),
        ('{"name": "gpu", "addresses": null}', ["refused: 0 addresses are fewer"]),
        ('{"name": "gpu"}', ["refused: 0 addresses are fewer"]),
        ('{"name": "fpga", "addresses": ["0"]}', ["refused: the resource is called 'fpga'"]),
        ('["0"]', ["refused: the output is no JSON object"]),
        ('{"name": "gpu", "addresses": "0"}', ["refused: addresses is no list"]),
        ('{"name": "gpu", "addresses": ["0", "1"]}', ["taken: 2 addresses for 1 asked for"]),
        ('{"name": "gpu", "addresses": [""]}', ["taken: '' is no plain number"]),
        ('{"name": "gpu", "addresses": ["GPU-1"]}', ["taken: 'GPU-1' is no plain number"]),
        ('{"name": "gpu", "addresses": ["00"]}', ["taken: '00' is no plain number"]),
        (
            '{"name": "gpu", "addresses": ["0", "0"]}',
            ["taken: 2 addresses for 1 asked for", "taken: an address comes twice"],
        ),
    ],
)
def test_an_answer_is_judged_as_spark_judges_it(stdout: str, sentences: list[str]) -> None:
    found = accept(stdout, exit_code=0, amount=1)

    said = [f"{'refused' if finding.fatal else 'taken'}: {finding.sentence}" for finding in found]
    assert len(said) == len(sentences)
    assert all(line.startswith(start) for line, start in zip(said, sentences, strict=True))


def test_a_failed_script_is_refused_whatever_it_printed() -> None:
    assert (
        accept('{"name": "gpu", "addresses": ["0"]}', exit_code=3, amount=1)[0].sentence
        == "it exited with code 3"
    )


@given(st.text(), st.integers(1, 9))
def test_no_output_makes_judging_fail(stdout: str, amount: int) -> None:
    assert all(finding.sentence for finding in accept(stdout, exit_code=0, amount=amount))
