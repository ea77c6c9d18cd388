# Every target sets itself up from nothing: a Python from 3.11 to 3.13 is all that is needed.
# ARGS is passed on: make test ARGS="-k roles", make ablate ARGS="--help". WORKERS=0 runs the
# tests in one process, which is faster for a few and lets a debugger in.
# UV_TORCH_BACKEND=cpu make setup installs the small CPU build of torch; uv reads the variable.

# A found name may be a shim of a version that is not installed, so each one is tried.
SUPPORTED := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c '$(SUPPORTED)' >/dev/null 2>&1 && echo $$python && break; done)
ARGS ?=
WORKERS ?= 2

BIN := .venv/bin/python
READY := .venv/.ready
UV := $(shell sed -n 's/^uv==/uv==/p' constraints.txt)
TESTS := $(BIN) -m pytest -n $(WORKERS) --dist loadfile

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help setup ablate notebooks docs check test test-all test-extra fuzz wheel-check lint format \
	typecheck clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY)  ## install everything into .venv, at the versions of constraints.txt

# The stamp comes last, so that an install cut short is taken up again. uv is several times as fast
# as pip, and compiles what it installs at once: the first command does not wait for it.
$(READY): pyproject.toml constraints.txt
	@rm -f $@
	@$(BIN) -c '$(SUPPORTED)' 2>/dev/null && $(BIN) -m pip --version >/dev/null 2>&1 || { \
		test -n "$(PYTHON)" || { echo "no Python from 3.11 to 3.13 found" >&2; exit 1; }; \
		$(PYTHON) -m venv --clear .venv; }
	$(BIN) -m pip install --quiet --disable-pip-version-check '$(UV)'
	$(BIN) -m uv pip install --quiet --python $(BIN) --compile-bytecode \
		--constraint constraints.txt --editable '.[dev,notebooks]'
	@touch $@

ablate: setup  ## ablate the latents of the bundled organisms
	$(BIN) -m experiments.ablate_latents $(ARGS)

notebooks: setup  ## open the notebooks in JupyterLab
	$(BIN) -m jupyterlab --notebook-dir notebooks $(ARGS)

# The site's own packages come on top of the others, and are stamped in the same way.
SITE_READY := .venv/.site-ready
$(SITE_READY): $(READY)
	$(BIN) -m uv pip install --quiet --python $(BIN) --compile-bytecode \
		--constraint constraints.txt --editable '.[dev,notebooks,docs]'
	@touch $@

docs: $(SITE_READY)  ## build the documentation site into build/site, with the notebooks run
	$(BIN) -m sphinx --fail-on-warning --keep-going --conf-dir docs \
		--doctree-dir build/doctrees . build/site $(ARGS)

# One thread per worker. A file stays with one worker, which loads its model once.
docs check test test-extra fuzz: export HF_HUB_OFFLINE = 1
docs check test test-extra fuzz: export MPLBACKEND = Agg
docs check test test-extra fuzz: export OMP_NUM_THREADS = 1
docs check test test-extra fuzz: export TOKENIZERS_PARALLELISM = false

check: lint typecheck  ## style, types and the fast tests, in a few minutes
	$(TESTS) -m 'not slow and not extra' $(ARGS)

test: lint typecheck  ## all checks and all tests but those of test-extra
	$(TESTS) -m 'not extra' $(ARGS)

test-extra: $(SITE_READY) wheel-check  ## what test-all adds: tests that take minutes or more than this
	$(TESTS) -m extra $(ARGS)

test-all: test test-extra  ## everything

# Not part of `test`, which is to give the same answer twice.
fuzz: export LANTERN_FUZZ = 1
fuzz: setup  ## the property tests, on new random examples each time
	$(TESTS) -m hypothesis $(ARGS)

wheel-check: setup  ## build the wheel, install it into an empty environment, use it there
	$(BIN) tests/wheel_check.py

lint: setup  ## style, without changing anything
	$(BIN) -m ruff check
	$(BIN) -m ruff format --check

format: setup  ## put the style right
	$(BIN) -m ruff check --fix
	$(BIN) -m ruff format

typecheck: setup  ## types
	$(BIN) -m mypy

clean:  ## remove .venv and all caches
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
