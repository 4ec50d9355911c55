# Every target makes the environment it needs, in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test check fmt bench lock torture

help:
	@echo "make demo    stop ~200 simulated stream tasks with real Celery workers"
	@echo "make test    every test, those on a real Redis server included"
	@echo "make check   formatting, lint, types, import directions"
	@echo "make fmt     format the code"
	@echo "make bench   measure; tables, figures and plots go to docs/. With QUICK=1, a look of three minutes"
	@echo "make torture SEED=1 MINUTES=5    real workers under kills, cuts, outages and jumping clocks"
	@echo "make lock    write constraints.txt anew after a change of pyproject.toml; what is locked stays"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "streamstop needs Python 3.11 or later, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --only-binary :all: --requirement constraints.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY)
	$(BIN)/python -m streamstop_simulator.demo

# Branch coverage is of what runs in the tests' own process; the system tests run real worker processes.
test: $(READY)
	$(BIN)/python -m pytest tests/unit tests/integration --cov
	$(BIN)/python -m pytest tests/system

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/python -m tests.bench $(if $(QUICK),--quick)

# To take newer versions: python -m tests.support.lock --upgrade
lock: $(READY)
	$(BIN)/python -m tests.support.lock

SEED ?= 1
MINUTES ?= 5
torture: $(READY)
	$(BIN)/python -m tests.torture run --seed $(SEED) --minutes $(MINUTES)
