# Two commands do everything on a fresh machine with Python >= 3.11, git and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --constraint constraints.txt --editable

export KEDRO_DISABLE_TELEMETRY ?= 1

# Debian's packages, and root to install them; without either, the test says what is missing.
SLURM_PACKAGES := slurm-wlm munge

.PHONY: help setup demo test test-slow test-slurm lint docs viz clean parameters pins
.DEFAULT_GOAL := help

help:  ## list all targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("rsc2p-kedro needs Python >= 3.11, this is %s. Name another: make PYTHON=python3.12 ..." % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

# A stamp a set of packages: made again when the pins change, and without the network otherwise.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) ".[$*]" || { echo "Installation failed; see the lines above." >&2; exit 1; }
	@touch $@

setup: $(VENV)/.installed-viz  ## make .venv and install the project with pinned versions

demo: setup  ## simulate four recordings, run every pipeline on them, show how the result compares with the truth
	@# kernels are compiled once, beside the first stages
	$(BIN)/python -m rsc2p_kedro.engines.warm_up & $(BIN)/kedro run --env demo && wait
	@$(BIN)/kedro recordings results --env demo

test: $(VENV)/.installed-viz,test,oracles  ## install what tests need and run all but the slow ones
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(VENV)/.installed-viz,test,oracles  ## run the slow tests
	$(BIN)/python -m pytest -m slow

test-slurm: $(VENV)/.installed-viz,test,oracles  ## run the demo's recordings through a SLURM of this machine alone
	@command -v slurmctld >/dev/null || [ "$$(id -u)" != 0 ] || apt-get install --yes --no-install-recommends $(SLURM_PACKAGES) || true
	RSC2P_TEST_SLURM=1 $(BIN)/python -m pytest tests/slurm

lint: $(VENV)/.installed-viz,test,oracles,lint  ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed-docs  ## build the documentation site into build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

viz: setup  ## look at the demo's pipelines in Kedro-Viz
	$(BIN)/kedro viz run --env demo

clean:  ## remove what the demo made and all caches (never .venv, conf/local or your data)
	rm -rf data/*/demo_[123] data/07_model_output/dandiset/sub-demo-[123] data/08_reporting/*_demo.* build .pytest_cache .mypy_cache .ruff_cache

parameters:  ## write conf/base/parameters_*.yml and docs/parameters.md from the models
	$(BIN)/python -m rsc2p_kedro.manifest.parameters_reference .

pins:  ## write constraints.txt from what is installed in .venv
	echo "# Exact versions of a working environment, written by \`make pins\`. Ranges stand in pyproject.toml." > constraints.txt
	$(PIP) freeze --all --exclude-editable --exclude pip >> constraints.txt
