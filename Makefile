# Every target makes the environment it needs, in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Stamps of installed sets of requirements. The sets share the environment, and agree on versions.
READY := $(VENV)/.dev-ready
DEMO_READY := $(VENV)/.demo-ready

.PHONY: help demo test check fmt bench lock torture

help:
	@echo "make demo    stop ~200 simulated stream tasks with real Celery workers"
	@echo "make test    every test, those on a real Redis server included"
	@echo "make check   formatting, lint, types, import directions"
	@echo "make fmt     format the code"
	@echo "make bench   measure; tables, figures and plots go to docs/. With QUICK=1, a look of three minutes"
	@echo "make torture SEED=1 MINUTES=5    real workers under kills, cuts, outages and jumping clocks"
	@echo "make lock    write requirements/ anew after a change of pyproject.toml; UPGRADE=1 takes newer versions"

$(VENV)/.%-ready: requirements/%.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "streamstop needs Python 3.11 or later, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --only-binary :all: --requirement $<
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(DEMO_READY)
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

# Wheels alone: a build from source would use tools that no hash vouches for.
COMPILE := $(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 --only-binary :all: --generate-hashes \
	--no-annotate --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)
# The versions in dev.txt, which is everything, hold for the other sets.
lock: $(READY)
	$(COMPILE) pyproject.toml --all-extras --group dev --output-file requirements/dev.txt
	$(COMPILE) pyproject.toml --all-extras --group build --group demo --constraint requirements/dev.txt --output-file requirements/demo.txt
	$(COMPILE) pyproject.toml --all-extras --constraint requirements/dev.txt --output-file requirements/worker.txt
	$(COMPILE) --group build --constraint requirements/dev.txt --output-file requirements/build.txt

SEED ?= 1
MINUTES ?= 5
torture: $(READY)
	$(BIN)/python -m tests.torture run --seed $(SEED) --minutes $(MINUTES)
