# Two commands, `make demo` and `make test`, need only Python 3.11 (or newer) and make. `make` alone lists all targets.
# Nothing is written outside of .venv/, .demo/, .bench/, and bench/results/.

PYTHON ?= python3
VENV ?= .venv
DEMO_EXIT ?=
LABELS ?=
MINUTES ?= 2
REQUESTS ?= 30000
SEED ?=
IMAGE ?= file-upload
CONTAINERS ?= docker
QUICK ?=
ONLY ?=

BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed
PIP = $(BIN)/python -m pip --disable-pip-version-check --no-input
BENCH_VENV = .bench/venv
BENCH_INSTALLED = $(BENCH_VENV)/.installed
UV = uv==0.13.9
COMPILE = $(BIN)/python -m uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make requirements"

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test faults soak fuzz bench check format image image-check newest-python requirements clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(INSTALLED) ## Start three real S3 servers and the service, and upload two files; DEMO_EXIT=1 stops it afterwards
	@DEMO_EXIT=$(DEMO_EXIT) $(BIN)/python -m demo

test: $(INSTALLED) ## Run the whole test suite; LABELS="tests/unit/s3" runs a part
	@$(BIN)/python manage.py test $(LABELS)

faults: $(INSTALLED) ## Run every combination of fault, place, and ack, and every kill; `make test` runs a selection
	@FAULTS=all $(BIN)/python manage.py test tests/faults tests/kill tests/service/test_faults.py tests/service/test_curl.py

soak: $(INSTALLED) ## Cause faults and kills for MINUTES=2, then check that nothing is lost or left; SEED=s repeats a run
	@$(BIN)/python -m soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

fuzz: $(INSTALLED) ## Compare our reader of HTTP with others, and send REQUESTS=30000 mutated requests (some minutes); QUICK=1, SEED=s
	@$(BIN)/python -m fuzz.reading $(if $(QUICK),--quick) $(if $(SEED),--seed $(SEED))
	@$(BIN)/python -m fuzz --requests $(if $(QUICK),1500,$(REQUESTS)) $(if $(SEED),--seed $(SEED))

bench: $(INSTALLED) $(BENCH_INSTALLED) ## Compare the speed with other tools (about an hour); QUICK=1: three minutes; ONLY="small slow"
	@$(BIN)/python -m bench $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

check: $(INSTALLED) ## Check format, lint, types, imports between packages, and the Dockerfile
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/hadolint Dockerfile
	@bash -n .ci/run && bash -n scripts/image-check && bash -n scripts/newest-python

format: $(INSTALLED) ## Format the code, and fix what the linter can fix
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

image: ## Build the image; CONTAINERS=podman uses another engine
	$(CONTAINERS) build -t $(IMAGE) .

image-check: $(INSTALLED) ## Build the image, run it, and upload a file (needs root, buildah, and podman)
	@PYTHON=$(BIN)/python bash scripts/image-check

newest-python: ## Run the fast tests on the newest Python (needs root, debootstrap, and Debian's packages)
	@bash scripts/newest-python

requirements: $(INSTALLED) ## Compile requirements.txt and requirements/*.txt again, with the newest allowed releases
	@$(PIP) install --quiet $(UV)
	$(COMPILE) --upgrade requirements/run.in -o requirements/run.txt
	$(COMPILE) --upgrade -c requirements/run.txt requirements/run.in requirements/test.in -o requirements.txt
	$(COMPILE) --upgrade requirements/bench.in -o requirements/bench.txt

clean: ## Remove the environment, the folders of demo and benchmark, and the caches of the tools
	rm -rf $(VENV) .demo .bench .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Runs again only if requirements.txt is newer than the last successful installation.
$(INSTALLED): requirements.txt $(BIN)/python
	@echo "installing requirements into $(VENV) (the first time about 150 MB and a minute) ..."
	@$(PIP) install --quiet -r requirements.txt
	@touch $@

# The environment of the compared tools, with the same Python.
$(BENCH_INSTALLED): requirements/bench.txt $(INSTALLED)
	@echo "installing the tools to compare with into $(BENCH_VENV) (the first time about 150 MB and a minute) ..."
	@rm -rf $(BENCH_VENV)
	@$(BIN)/python -m venv $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python -m pip --disable-pip-version-check --no-input install --quiet -r requirements/bench.txt
	@touch $@

# Runs also if the Python that created it was removed.
$(BIN)/python:
	@command -v "$(PYTHON)" > /dev/null || { \
		echo "error: there is no $(PYTHON): install Python 3.11 or newer, or name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: $$("$(PYTHON)" -V 2>&1) is too old: 3.10 reached its end of life in October 2026, and the HTTP client needs 3.11. Name a newer one: make PYTHON=python3.11 ..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2> /dev/null || { \
		echo "error: $(PYTHON) cannot make virtual environments (on Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@echo "making $(VENV) with $$("$(PYTHON)" -V) ..."
	@rm -f "$(BIN)"/python "$(BIN)"/python3*
	@"$(PYTHON)" -m venv "$(VENV)"
