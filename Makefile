# `make` prints this list; `make demo` and `make test` need nothing but Python 3.11 or newer.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
# Minutes that the demo's language model trains or the soak lasts, and arguments for every pytest run.
MINUTES ?= 3
PYTEST ?=

.PHONY: help
help: ## Print this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

.PHONY: demo
demo: $(READY) ## The whole tour in about five minutes (MINUTES=3: how long it trains)
	@$(BIN)/python examples/demo.py --minutes $(MINUTES)

.PHONY: test
test: $(READY) ## The fast test suite (PYTEST="-k name": arguments for pytest)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 $(PYTEST)

.PHONY: test-long
test-long: $(READY) ## The sweeps that take minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 -m "long and not gpu" $(PYTEST)

.PHONY: soak
soak: $(READY) ## Random calls on every backend for MINUTES=3; failures become small files
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.soak --minutes $(MINUTES)

.PHONY: gpu
gpu: $(READY) ## The kernels' tests on a CUDA device
	$(BIN)/python -m pytest tests/triton -m "not long" $(PYTEST)

.PHONY: lint
lint: $(READY) ## Style, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

.PHONY: format
format: $(READY) ## Put the code in the one format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: generate
generate: $(READY) ## Write again what is generated: README table, gallery, pictures, links for type checkers
	$(BIN)/python examples/make_pictures.py
	$(BIN)/python examples/make_readme.py
	$(BIN)/python examples/make_gallery.py
	$(BIN)/python tests/typing/links.py

.PHONY: bench
bench: $(READY) ## Measure this machine: the suite beside other libraries, planning, linear, start, reports
	$(BIN)/attnlang bench suite --quick
	$(BIN)/attnlang bench plan
	$(BIN)/attnlang bench constant
	$(BIN)/attnlang bench start
	$(BIN)/attnlang bench explain

.PHONY: clean
clean: ## Remove the environment, the caches and what the demo made
	rm -rf .venv demo-output soak-output build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml tests/constraints.txt
	@echo "Making the environment in .venv: some minutes if torch has to be downloaded."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -qq -e ".[dev]" -c tests/constraints.txt
	@touch $@
