# Everything lives in .venv; `make` shows the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
LOCK := tests/requirements/dev.txt
COMPILE := pip compile --quiet pyproject.toml --extra spark --extra demo --extra connect --extra storage --extra metrics --group dev --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-annotate --no-header
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help env demo test check newest bench soak mutants lock relock clean
NEWEST := .cache/newest
SUITES ?= tests/discovery tests/spark

help: ## this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

env: .venv/.installed ## install everything locked into .venv (uv is bootstrapped there)

.venv/bin/uv: tests/requirements/uv.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tritium needs Python >= 3.11; set PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m ensurepip --upgrade >/dev/null
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary uv -r $<
	touch $@

.venv/.installed: .venv/bin/uv $(LOCK) pyproject.toml
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode $(LOCK)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

demo: env ## the main job on emulated devices: discover, train, verify, predict, report
	$(BIN)/tritium demo

check: env ## the fast gate, under a minute: lint, types, layers, tests that start nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -n 2 --dist loadfile -m "not rig and not process"

test: env ## everything that CI runs: locks, lint, types, layers, all tests, coverage
	.ci/test

newest: env ## the suites that start Spark (SUITES) once more: on the newest Spark published, else as locked
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(NEWEST)
	$(BIN)/python -c 'import site; print(*site.getsitepackages(), sep="\n")' > $$($(NEWEST)/bin/python -c 'import site; print(site.getsitepackages()[0])')/locked.pth
	$(BIN)/uv pip install --quiet --python $(NEWEST)/bin/python --upgrade pyspark
	$(BIN)/uv pip install --quiet --python $(NEWEST)/bin/python --no-deps --no-build-isolation --editable .
	$(NEWEST)/bin/python -c 'import pyspark; print("Spark", pyspark.__version__)'
	$(NEWEST)/bin/python -m pytest -q -m "spark or yarn" $(SUITES)

bench: env ## measure ourselves against the peers and rewrite the README's table
	$(BIN)/python tests/benchmarks/bench.py

soak: env ## inject more than 200 faults into gangs, kill streams, run one at a steady rate, and print what was seen (an hour)
	$(BIN)/python tests/faults/soak.py
	$(BIN)/python tests/soaks/kills.py
	$(BIN)/python tests/soaks/steady.py
	$(BIN)/python tests/soaks/memory.py

mutants: env ## flip each comparison of the modules that decide: some test must fail each time (half an hour)
	$(BIN)/python tests/mutation/run.py

lock: .venv/bin/uv ## resolve the locked versions anew
	$(BIN)/uv $(COMPILE) --upgrade -o $(LOCK)

relock: .venv/bin/uv
	$(BIN)/uv $(COMPILE) -o $(LOCK)

clean: ## remove everything that was built
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* dist build
