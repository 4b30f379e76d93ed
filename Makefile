# `make demo` and `make test` need only python3 (>= 3.11, with venv) and a package index; they set up the rest.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
DEMO := demo-out
CONDHPC := $(BIN)/condhpc --profile local --root $(DEMO)
# Tests start some hundred interpreters: where the environment forbids byte code, each would compile the package anew.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -q

.PHONY: demo test check fast slurm-tests bench slow format clean help

help:
	@echo "make demo    install, run manifests/quick.toml on this machine, show the tables"
	@echo "make test    install, then check + fast tests + tests on a real Slurm (as root on Debian it installs one)"
	@echo "make check   ruff, mypy, import-linter      make fast   tests without Slurm"
	@echo "make bench   ratios against rivals          make slow   long runs on CIFAR-10"

.venv/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "condhpc needs Python 3.11 or newer; this is `$(PYTHON) -V`. Try make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.demo: .venv/pyvenv.cfg pyproject.toml constraints.txt
	@echo "installing condhpc and its packages into .venv (about 5.5 GB, some minutes)"
	$(PIP) -e '.[digits]'
	@touch $@

.venv/.dev: .venv/pyvenv.cfg pyproject.toml constraints.txt
	@echo "installing condhpc with the tools of its developers into .venv (about 5.6 GB, some minutes)"
	$(PIP) -e '.[dev]'
	@touch $@ .venv/.demo

demo: .venv/.demo
	$(CONDHPC) submit --yes manifests/quick.toml
	$(CONDHPC) collect --out $(DEMO)/tables

test: check fast slurm-tests

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# One worker more than CI has cores: tests also wait, for processes, files and screens.
fast: .venv/.dev
	$(PYTEST) -n 3 --dist worksteal --ignore=tests/benchmarks --ignore=tests/slow \
	  -m "not slurm and not slow and not bench" tests

# Two clusters side by side: these tests mostly wait for Slurm.
# Exit 69 of the installer: not possible on this machine. Then the tests say why they are skipped, or fail where
# CONDHPC_REQUIRE_SLURM=1 (as in .ci/run) insists.
slurm-tests: .venv/.dev
	slurm/dev/install || [ $$? -eq 69 ]
	$(PYTEST) -n 2 --dist worksteal -m slurm tests/slurm

bench: .venv/.dev
	$(PYTEST) -s -m bench tests/benchmarks

slow: .venv/.dev
	$(PYTEST) -s -m slow tests/slow

format: .venv/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(DEMO) .mypy_cache .ruff_cache .pytest_cache
