# Two commands for newcomers (demo, test), two for contributors (check, test).
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check setup

demo: setup
	$(BIN)/sirl demo --overwrite

test: setup check
	$(BIN)/python -m pytest -q

check: setup
	$(BIN)/ruff format --check src tests
	$(BIN)/ruff check src tests
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
