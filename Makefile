# Everything a developer runs. `make` alone lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PYTEST_FLAGS ?=
# Tests run in so many processes, a file in one of them. One more than two cores: nearly half of their time they wait
# for processes of their own, for disks and for moments to come.
WORKERS ?= 3

.DEFAULT_GOAL := help
.PHONY: help setup demo test programs lint format bench bench-query soak coverage docs requirements clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: $(STAMP) ## create .venv with the pinned dependencies and the `watchkeep` command

# Nothing here is downloaded without its hash being known; the project itself is installed in place.
$(STAMP): requirements.txt requirements-dev.txt tests/packaging/neighbours.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Watchkeep needs Python 3.11 or later, and $(PYTHON) is " + sys.version.split()[0] + ": run make PYTHON=python3.12")'
	@test -x $(BIN)/python || { echo "creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing the pinned dependencies"
	@$(PIP) install --require-hashes -r requirements.txt -r requirements-dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@$(PIP) download --no-deps --require-hashes --only-binary :all: --dest $(VENV)/neighbours -r tests/packaging/neighbours.txt
	@touch $@

demo: setup ## start the daemon and a small real application that logs to it; Ctrl-C stops both
	@$(BIN)/watchkeep demo

test: setup programs ## run all tests (the soak tests excepted)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_FLAGS)

# A browser, logrotate and others, which tests run. What is missing skips its tests, and fails them under CI=true.
programs: setup
	@$(BIN)/python scripts/programs.py

lint: setup ## style, types, layers, vendored files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/pyright
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python scripts/vendor.py --check

format: setup ## let ruff arrange imports and layout
	@$(BIN)/ruff check --fix --select I .
	@$(BIN)/ruff format .

bench: setup ## measure ingest, queries and latency beside bare DuckDB
	@$(BIN)/python -m benchmarks

# Only this target installs the other engines, pinned. BENCH_FLAGS: --events 5000000, --victorialogs PATH …
bench-query: setup ## measure queries beside DuckDB, ClickHouse, SQLite FTS5 and, if given, VictoriaLogs
	@$(PIP) install --require-hashes -r requirements-bench.txt
	@$(BIN)/python -m benchmarks compare $(BENCH_FLAGS)

soak: setup programs ## kill and power-cut tests in their long form
	@$(BIN)/python -m pytest -m soak $(PYTEST_FLAGS)

coverage: setup programs ## run the tests under coverage
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest $(PYTEST_FLAGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

docs: setup ## write the generated parts of the documents again
	@$(BIN)/python scripts/document.py
	@$(BIN)/python -m daemon.reference

# Pins every version and hash again, from the ranges in pyproject.toml. Needs pip-tools.
requirements: ## write requirements.txt and requirements-dev.txt again
	@$(PYTHON) scripts/pin.py

clean: ## remove everything that can be made again
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* .demo
