"""A pipeline file that cannot work is refused before anything starts, with all reasons at once."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pipeline.documents import changed, write
from tritium.errors import BadSpec, CodeMissing
from tritium.pipeline.code import python_files
from tritium.pipeline.load import identity, load
from tritium.pipeline.spec import Source


def test_a_good_file_is_read_and_its_paths_start_at_its_folder(tmp_path: Path) -> None:
    pipeline = load(write(tmp_path))

    assert pipeline.train.source.path == tmp_path / "data/train"
    assert pipeline.storage == tmp_path / "kept"


def test_the_command_may_say_where_things_are_kept(tmp_path: Path) -> None:
    assert load(write(tmp_path), storage=tmp_path / "elsewhere").storage == tmp_path / "elsewhere"


def refusal(file: Path) -> str:
    with pytest.raises(BadSpec) as refused:
        load(file)
    return str(refused.value)


def test_a_missing_pipeline_file_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "absent.yaml") == f"{tmp_path}/absent.yaml: there is no such file"


def test_a_file_that_is_no_yaml_is_refused_with_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text("kind: Pipeline\nspec: {train: [}\n")

    assert refusal(file) == f"{file}: line 2, column 16: expected the node content, but found '}}'"


def test_a_file_of_bytes_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_bytes(b"kind: \x00\n")

    assert refusal(file).startswith(f"{file}: is no YAML: unacceptable character")


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text("kind: Pipeline\nkind: Pipeline\n")

    assert refusal(file) == f"{file}: line 2, column 1: the key 'kind' is there twice"


def test_a_folder_is_no_pipeline_file(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: is a folder; name the pipeline file in it"


def test_a_script_must_be_there_and_be_python(tmp_path: Path) -> None:
    file = write(tmp_path, changed({"spec.train.run": "train.py", "spec.train.params": ...}))
    script = tmp_path / "train.py"

    with pytest.raises(CodeMissing, match=rf"train\.run: the script {script} cannot be read: No such file"):
        load(file)
    script.write_text("def (:\n")
    with pytest.raises(CodeMissing, match=rf"train\.run: the script {script}, line 1 is no Python: invalid"):
        load(file)


def test_missing_data_and_missing_functions_are_told_together(tmp_path: Path) -> None:
    document = changed({
        "spec.train.source.path": "data/trian",
        "spec.infer.source.path": "kept",
        "spec.verify.run": "digits:chekc",
    })  # fmt: skip
    file = write(tmp_path, document)
    (tmp_path / "kept").mkdir()

    no_function = f"module digits ({tmp_path}/digits.py) has no function 'chekc'; did you mean check?"
    assert refusal(file).splitlines() == [
        f"{file}: spec.train.source.path: there is no {tmp_path}/data/trian",
        f"{file}: spec.infer.source.path: {tmp_path}/kept holds no files",
        f"{file}: spec.verify.run: {no_function}",
    ]


def code_refusal(file: Path) -> str:
    with pytest.raises(CodeMissing) as refused:
        load(file)
    assert refused.value.exit_code == 32
    return str(refused.value)


def test_a_module_that_is_not_there_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    file = write(tmp_path, changed({"spec.train.run": "digit:fit"}))

    sentence = f"{file}: spec.train.run: there is no module 'digit' in {tmp_path}; did you mean digits?"
    assert code_refusal(file) == sentence


def test_a_module_that_does_not_import_is_named_with_its_own_line(tmp_path: Path) -> None:
    file = write(tmp_path)
    (tmp_path / "digits.py").write_text("import os\n\nimport torhc\n")

    assert code_refusal(file).splitlines() == [
        f"{file}: spec.{stage}.run: module 'digits' does not import: {tmp_path}/digits.py, line 3: "
        "ModuleNotFoundError: No module named 'torhc'"
        for stage in ("train", "verify", "infer")
    ]


def test_a_syntax_error_is_named_with_its_line(tmp_path: Path) -> None:
    file = write(tmp_path, changed({"spec.verify": ..., "spec.infer": ...}))
    (tmp_path / "digits.py").write_text("def fit(data:\n    pass\n")

    assert code_refusal(file) == (
        f"{file}: spec.train.run: module 'digits' does not import: {tmp_path}/digits.py, line 1: "
        "SyntaxError: '(' was never closed"
    )


def test_a_module_that_ends_the_process_is_a_sentence_too(tmp_path: Path) -> None:
    file = write(tmp_path)
    (tmp_path / "digits.py").write_text("import os\nos._exit(3)\n")

    assert code_refusal(file) == (
        f"{file}: spec.code.path: importing the modules in {tmp_path} ended the process (exit code 3)"
    )


def test_a_name_that_is_no_function_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, changed({"spec.verify": ..., "spec.infer": ...}))
    (tmp_path / "digits.py").write_text("fit = 3\n")

    sentence = f"module digits ({tmp_path}/digits.py) has 'fit', which is no function but 3"
    assert code_refusal(file) == f"{file}: spec.train.run: {sentence}"


def test_what_a_module_prints_does_not_disturb_the_check(tmp_path: Path) -> None:
    file = write(tmp_path)
    code = (tmp_path / "digits.py").read_text()
    (tmp_path / "digits.py").write_text(f"print('[]')\n{code}")

    assert load(file).name == "digits"


def test_a_module_in_the_current_folder_is_not_the_users_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "digit.py").write_text("def fit(): ...\n")
    monkeypatch.chdir(elsewhere)
    file = write(tmp_path, changed({"spec.train.run": "digit:fit"}))

    assert "there is no module 'digit'" in code_refusal(file)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("digits.py", "{0}/digits.py is a file; name its folder"),
        ("absent", "{0}/absent is not there"),
    ],
)
def test_code_is_a_folder(tmp_path: Path, path: str, sentence: str) -> None:
    file = write(tmp_path, changed({"spec.code.path": path}))

    assert code_refusal(file) == f"{file}: spec.code.path: {sentence.format(tmp_path)}"


def test_a_folder_with_thousands_of_python_files_is_the_wrong_one(tmp_path: Path) -> None:
    for number in range(2001):
        (tmp_path / f"m{number}.py").touch()

    assert "name the folder of your code" in code_refusal(write(tmp_path))


def test_the_code_is_all_python_files_but_hidden_ones_and_environments(tmp_path: Path) -> None:
    for name in (
        "a.py",
        "pkg/b.py",
        ".git/c.py",
        "venv/lib/d.py",
        "kept/f.py",
        "pkg/__pycache__/e.py",
        "notes.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "venv" / "pyvenv.cfg").touch()

    assert list(python_files(tmp_path, storage=tmp_path / "kept")) == ["a.py", "pkg/b.py"]


def test_the_identity_of_a_source_changes_with_every_file_that_spark_would_read(tmp_path: Path) -> None:
    source = Source(format="parquet", path=tmp_path)
    (tmp_path / "a").write_text("1")
    first = identity(source)

    (tmp_path / "_SUCCESS").touch()
    (tmp_path / ".a.crc").touch()
    (tmp_path / "_temporary").mkdir()
    (tmp_path / "_temporary" / "b").touch()
    assert identity(source) == first

    later = time.time() + 5
    os.utime(tmp_path / "a", (later, later))
    second = identity(source)
    (tmp_path / "b").touch()
    assert len({first, second, identity(source)}) == 3


def test_what_a_function_does_not_take_is_refused_before_anything_runs(tmp_path: Path) -> None:
    file = write(tmp_path, changed({"spec.train.params": {"epochs": 3, "rate": 0.1}}))
    (tmp_path / "digits.py").write_text(
        "def fit(data, epochs): ...\ndef check(model): ...\ndef load(device, model, extra=None): ...\n"
    )

    with pytest.raises(CodeMissing) as refused:
        load(file)

    fit, check = str(refused.value).splitlines()
    assert fit.startswith(f"{file}: spec.train.run: module digits")
    assert fit.endswith(
        "cannot be called as fit(data, epochs=..., rate=...): got an unexpected keyword argument 'rate'"
    )
    assert check.endswith("cannot be called as check(model, data): too many positional arguments")
