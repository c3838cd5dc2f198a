# Two commands for newcomers (demo, test), three for contributors (check, test, bench).
PYTHON ?= python3
BIN := .venv/bin
PIP := --quiet --disable-pip-version-check --no-compile

.PHONY: demo test check bench setup

demo: setup
	$(BIN)/sirl demo --overwrite

# One process runs all tests of a module, which share its runs; the slowest modules, in tests/flow, start first.
# Compiled tests are kept, which saves ten seconds from the second time on.
test: setup check
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

check: setup
	$(BIN)/ruff format --check src tests benchmarks recipes
	$(BIN)/ruff check src tests benchmarks recipes
	$(BIN)/mypy
	$(BIN)/lint-imports

# PEER=.../bin/python names an environment with benchmarks/requirements.txt; without it TRL is left out.
bench: setup
	$(BIN)/python benchmarks/attack_throughput.py --out runs/attack_throughput.json
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/phases.py --cases embedded
	$(BIN)/python benchmarks/head_memory.py
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/step_time.py --cases embedded $(if $(PEER),--peer $(PEER))
	$(if $(PEER),$(BIN)/python benchmarks/parity_trl.py --peer $(PEER))

setup: .venv/ready

# Compiled on all cores, where pip uses one. Files for other versions of Python cannot be compiled.
.venv/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install $(PIP) -c constraints.txt torch
	$(BIN)/python -m pip install $(PIP) -c constraints.txt -e '.[dev]'
	$(BIN)/python -m compileall -qq -j 0 .venv/lib || true
	touch $@
