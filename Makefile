# LASER on a bare machine with Python 3.11 or newer, make and git:
#
#   make serve     install, then serve the bundled model      ARGS="--port 9000" goes to `laser serve`
#   make test      install, then run the tests that are quick ARGS="-k probe" goes to pytest
#   make slow      install, then run the slow tests           (processes, servers, training, long simulations)
#   make lint      style and the import contracts
#   make types     mypy, strict
#   make check     all of these
#   make nightly   long schedules, fuzzing, soaks and clients' own test suites: by hand, NIGHTS=3 for three times as long
#   make clients   other people's clients against a live server, each in an environment of its own: by hand, ARGS="litellm"
#   make wheel     build the wheel and the source archive into dist/
#   make reference write docs/reference/ anew from the code
#   make site      build the pages of docs/ as a site into build/site, which a browser opens without a server
#   make constraints   renew the pins in constraints.txt; afterwards run `make check`
#   make clean     remove the environment, builds and caches
#
# Every target may be run again at any time: what is installed already is kept until pyproject.toml or the pins change.
# PYTHON=/path/to/python3.12 chooses the interpreter, VENV=elsewhere the place of the environment, JOBS=1 how many tests
# run side by side (by default one a core, at most four).

VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
DIST ?= dist
NIGHTS ?= 1
FUZZED := tests/models/prompts tests/models/files tests/laser/server/test_request_fuzz.py tests/laser/server/intake \
	tests/experiments/workloads tests/experiments/evaluation/test_question_files.py tests/laser/cli/test_damaged_models.py
JOBS ?= $(shell cores=$$(nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 1); echo $$((cores < 4 ? cores : 4)))

# The first interpreter that is new enough; `python3` first, since wheels are most likely at hand for the system's own.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$python" -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && { echo "$$python"; break; }; done)

# Stamps inside the environment: they go with it.
ENVIRONMENT := $(VENV)/.laser-environment
RUNTIME := $(VENV)/.laser-runtime
DEVELOPMENT := $(VENV)/.laser-development
MKDOCS := $(VENV)/.laser-mkdocs
PIP := $(BIN)/python -m pip --disable-pip-version-check

# torch stays at the release whose CPU build is at hand where the tests run; its own metadata pins its CUDA libraries.
TORCH := 2.13.0
COMPILE := uv pip compile --quiet --universal --upgrade --no-header --no-annotate --python-version 3.11

.PHONY: help serve test slow lint types check nightly clients wheel reference site constraints clean

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

serve: $(RUNTIME)
	@echo "==> laser serve $(ARGS)"
	@exec $(BIN)/laser serve $(ARGS)

test: $(DEVELOPMENT)
	@echo "==> $$(date -u +%T) Running the quick tests"
	@$(BIN)/python -m pytest -n $(JOBS) -m "not slow" $(ARGS)

slow: $(DEVELOPMENT)
	@echo "==> $$(date -u +%T) Running the slow tests"
	@$(BIN)/python -m pytest -n $(JOBS) -m slow $(ARGS)

lint: $(DEVELOPMENT)
	@echo "==> $$(date -u +%T) Checking style and the import contracts"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-logo

types: $(DEVELOPMENT)
	@echo "==> $$(date -u +%T) Checking types"
	@$(BIN)/mypy

check: test slow lint types

nightly: $(DEVELOPMENT)
	@echo "==> $$(date -u +%F): long schedules on every engine"
	@LASER_FUZZ=$$((100 * $(NIGHTS))) $(BIN)/python -m pytest -n $(JOBS) tests/engine tests/controller -k "schedule or soak" $(ARGS)
	@echo "==> $$(date -u +%F): every parser under damaged and invented inputs"
	@LASER_FUZZ=$$((5000 * $(NIGHTS))) $(BIN)/python -m pytest -n $(JOBS) --timeout 0 $(FUZZED) $(ARGS)
	@echo "==> $$(date -u +%F): the engine under cancellations, and the server under faults"
	@$(BIN)/python -m benchmarks.soak
	@$(BIN)/python -m benchmarks.soak_http

clients: $(DEVELOPMENT)
	@echo "==> $$(date -u +%F): other people's clients against a live server"
	@$(BIN)/python -m tests.clients.run $(ARGS)

wheel: $(DEVELOPMENT)
	@echo "==> Building the wheel and the source archive into $(DIST)"
	@$(BIN)/python -m build --outdir "$(DIST)"

reference: $(DEVELOPMENT)
	@echo "==> Writing docs/reference"
	@$(BIN)/python -m laser.reference

site: $(MKDOCS)
	@echo "==> Building the site"
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict $(ARGS)  # with --quiet it would count no warnings
	@echo "==> Open build/site/index.html"

constraints: $(ENVIRONMENT)
	@echo "==> Renewing constraints.txt"
	@$(PIP) install --quiet uv
	@echo 'torch==$(TORCH)' | $(BIN)/$(COMPILE) --constraints - --extra exllama --extra llamacpp --extra experiments --extra otel --group dev --group site pyproject.toml > $(VENV)/pins
	@grep -v -E '^(cuda|nvidia|triton)' $(VENV)/pins > constraints.txt

clean:
	rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

$(ENVIRONMENT):
	@"$(PYTHON)" -c '$(NEW_ENOUGH)' 2>/dev/null || { \
		echo "LASER needs Python 3.11 or newer, found: $$("$(or $(PYTHON),python3)" --version 2>&1 | head -n 1)." >&2; \
		echo "Install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; }
	@echo "==> [1/2] Creating $(VENV) with $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv $(VENV) || { \
		echo "This Python cannot create environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(PIP) install --quiet 'pip>=25.1'  # the first that knows dependency groups
	@touch $@

$(RUNTIME): $(ENVIRONMENT) pyproject.toml constraints.txt
	@echo "==> [2/2] Installing LASER; the first time this fetches PyTorch and takes some minutes"
	@$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(DEVELOPMENT): $(ENVIRONMENT) pyproject.toml constraints.txt
	@echo "==> [2/2] Installing LASER with its development tools; the first time this fetches PyTorch and takes some minutes"
	@$(PIP) install --constraint constraints.txt --group dev --editable .
	@touch $(RUNTIME) $@

$(MKDOCS): $(ENVIRONMENT) pyproject.toml constraints.txt
	@echo "==> [2/2] Installing what builds the site"
	@$(PIP) install --quiet --constraint constraints.txt --group site
	@touch $@
