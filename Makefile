# `make help` lists the targets.
PYTHON ?= python3
FUZZ_MINUTES ?= 30
# A file's tests stay together, since they share what they train.
PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadfile
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-minimum gpu chaos fuzz audit lint format docs docs-serve release-check clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# A stamp per set of extras: made again when pyproject.toml changes.
$(VENV)/.cpu: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e ".[cpu]"
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e ".[test]"
	@touch $@ $(VENV)/.cpu

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	@touch $@ $(VENV)/.test $(VENV)/.cpu

$(VENV)/.docs: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e ".[cpu,docs]"
	@touch $@ $(VENV)/.cpu

$(VENV)/.audit: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e ".[audit]"
	@touch $@

demo: $(VENV)/.cpu  ## install, train on the embedded data set, evaluate, search, report
	$(BIN)/python run.py demo

test: $(VENV)/.test  ## install and run the tests, on several cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL)

test-slow: $(VENV)/.test  ## run the slow tests too
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) -m "slow or not slow"

test-minimum:  ## run the tests with the lowest versions that pyproject.toml allows (downloads 3.2 GB)
	.ci/test_minimum.sh

gpu:  ## test and measure on this machine's GPU, with the packages as they are; no network
	OMP_NUM_THREADS=8 $(PYTHON) benchmarks/gpu.py

chaos: $(VENV)/.test  ## kill trainings at more than 100 moments and compare what comes out
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/chaos -m "slow or not slow" -s

fuzz: $(VENV)/.test  ## damage the files of every reader for FUZZ_MINUTES (default: 30)
	IBC_PYG_FUZZ_MINUTES=$(FUZZ_MINUTES) OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/fuzz

audit: $(VENV)/.audit  ## look up known vulnerabilities of the installed packages, over the network
	$(BIN)/pip-audit --local --skip-editable

lint: $(VENV)/.dev  ## ruff, mypy, and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.docs  ## build the documentation, in site/
	$(BIN)/codespell docs examples experiments ibc_pyg *.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: $(VENV)/.docs  ## show the documentation on http://127.0.0.1:8000, built again on changes
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --strict

release-check:  ## build wheel and sdist, install and use them in a fresh environment (downloads 3.2 GB)
	.ci/release_check.sh

clean:  ## remove .venv and caches; runs stay
	rm -rf $(VENV) .venv-minimum site .pytest_cache .mypy_cache .ruff_cache build dist *.egg-info
