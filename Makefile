# Every target makes the environment it needs, in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Stamps of installed sets of requirements. The sets share the environment, and agree on versions.
READY := $(VENV)/.dev-ready
DEMO_READY := $(VENV)/.demo-ready

.PHONY: help demo dev test test-all test-servers check docs fmt bench lock torture

help:
	@echo "make demo            Stop about 200 simulated stream tasks with real Celery workers, and show how."
	@echo "make dev             Run Redis, the simulated vendors, two workers, the page and sample tasks until Ctrl-C."
	@echo "make test            Run the tests of every change, those on a real Redis included; takes under five minutes on two cores."
	@echo "make test-all        Run every test: torture, fuzzing, upgrade, Redis failures and packaging too."
	@echo "make test-servers    Run the tests that depend on Redis on other servers: SERVERS=\"folder...\"."
	@echo "make check           Check formatting, lint, types, import directions, the Lua scripts and the documentation."
	@echo "make docs            Build the documentation as a site, in build/docs."
	@echo "make fmt             Format the code."
	@echo "make bench           Measure, and write tables and plots to docs/; QUICK=1 takes three minutes; make bench http: one scenario."
	@echo "make torture         Run workers under kills, network cuts and clock jumps: SEED=1 MINUTES=5."
	@echo "make lock            Rewrite requirements/ after a change of pyproject.toml; UPGRADE=1 upgrades."

# pip 22.3 and later can install into another environment. If $(PYTHON) has such a pip, $(VENV) gets no pip of its own:
# to install that one takes seconds. The shell command runs once, and only when something is installed.
PIP = $(eval PIP := $(shell $(PYTHON) -m pip --help 2>/dev/null | grep -q -e '--python ' \
	&& echo '$(PYTHON) -m pip --python $(BIN)/python' || echo '$(BIN)/python -m pip'))$(PIP)
# --no-deps: a file of requirements/ lists every package, so pip need not resolve. --no-compile: Python compiles the
# modules that it imports, pip would compile all.
INSTALL = $(PIP) install --quiet --disable-pip-version-check --no-deps --no-compile

$(VENV)/.%-ready: requirements/%.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "streamstop needs Python 3.11 or later, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(if $(findstring --python,$(PIP)),--without-pip) $(VENV)
	$(INSTALL) --require-hashes --only-binary :all: --requirement $<
	$(INSTALL) --no-build-isolation --editable .
	@touch $@

demo: $(DEMO_READY)
	$(BIN)/python -m streamstop_simulator.demo

dev: $(DEMO_READY)
	@$(BIN)/python -m streamstop_simulator.dev

# System tests mostly wait for real processes: twice as many at once as there are cores. A file's tests stay together,
# for they share its workers; the others go wherever there is room. What is `paced` measures calls in a second, and
# runs alone. Branch coverage is of what runs in the tests' own processes, and doubles their time; `coverage report`
# prints what is not covered.
PYTEST := $(BIN)/python -m pytest -q
SYSTEM_JOBS ?= $(shell expr 2 '*' `getconf _NPROCESSORS_ONLN`)
SYSTEM := -n $(SYSTEM_JOBS) --maxprocesses 8 --dist loadfile

CHROMIUM := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)

test: $(READY)
	$(PYTEST) tests/unit tests/integration -m "not long" -n auto --maxprocesses 8 --dist worksteal
	$(PYTEST) tests/system -m "not long and not paced$(if $(CHROMIUM),, and not browser)" $(SYSTEM)
	$(PYTEST) tests/system -m "paced and not long"
	@$(if $(CHROMIUM),true,echo "The tests of the page did not run: there is no Chromium (apt-get install chromium). make test-all fails without it.")

test-all: $(READY)
	$(PYTEST) tests/unit tests/integration -n auto --maxprocesses 8 --dist worksteal --cov --cov-report=
	$(PYTEST) tests/system -m "not paced" $(SYSTEM)
	$(PYTEST) tests/system -m "paced"

# Each folder of SERVERS holds a redis-server, which goes before every other.
SERVERS ?=
test-servers: $(READY)
	$(BIN)/python -m tests.support.servers $(SERVERS) -- -m "not paced" -n auto --maxprocesses 8 --dist loadfile

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy examples docs/_ext
	$(BIN)/lint-imports
	$(BIN)/python -m tests.support.lua_lint
	$(BIN)/python -m sphinx $(STRICT) docs build/docs

# A dead link between pages, or a reference to a name that is not documented, is an error.
STRICT := --fresh-env --quiet --fail-on-warning --keep-going --nitpicky --builder html
docs: $(READY)
	$(BIN)/python -m sphinx $(STRICT) docs build/docs
	@echo "open build/docs/index.html"

fmt: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# `make bench http` measures one scenario: the goals after bench are their names.
SCENARIOS := $(if $(filter bench,$(firstword $(MAKECMDGOALS))),$(wordlist 2,99,$(MAKECMDGOALS)))
bench: $(READY)
	$(BIN)/python -m tests.bench $(SCENARIOS) $(if $(QUICK),--quick)
ifneq ($(SCENARIOS),)
.PHONY: $(SCENARIOS)
$(SCENARIOS):
	@true
endif

# Wheels alone: a build from source would use tools that no hash vouches for.
COMPILE := $(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 --only-binary :all: --generate-hashes \
	--no-annotate --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)
# The versions in dev.txt, which is everything, hold for the other sets.
lock: $(READY)
	$(COMPILE) pyproject.toml --all-extras --group dev --output-file requirements/dev.txt
	$(COMPILE) pyproject.toml --extra worker --extra simulator --extra server --group build --group demo --constraint requirements/dev.txt --output-file requirements/demo.txt
	$(COMPILE) pyproject.toml --all-extras --constraint requirements/dev.txt --output-file requirements/worker.txt
	$(COMPILE) --group build --constraint requirements/dev.txt --output-file requirements/build.txt

SEED ?= 1
MINUTES ?= 5
torture: $(READY)
	$(BIN)/python -m tests.torture run --seed $(SEED) --minutes $(MINUTES)
