# Everything by two commands on a machine that has only Python 3.11 (or newer) and make: `make demo` and `make test`.
# `make` alone lists the rest. Nothing outside of .venv/, .demo/, .bench/ and bench/results/ is written.

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

help: ## List what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(INSTALLED) ## Three real S3 servers, the service, two files in every account; DEMO_EXIT=1 does not stay up
	@DEMO_EXIT=$(DEMO_EXIT) $(BIN)/python -m demo

test: $(INSTALLED) ## The whole suite; LABELS="tests/unit/s3" for less
	@$(BIN)/python manage.py test $(LABELS)

faults: $(INSTALLED) ## Every way in which an account can fail, at every place, with every ack; `make test` runs a selection
	@FAULTS=all $(BIN)/python manage.py test tests/faults

soak: $(INSTALLED) ## Everything goes wrong for MINUTES=2, then nothing may be lost or left; SEED=s draws the same again
	@$(BIN)/python -m soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

fuzz: $(INSTALLED) ## REQUESTS=30000 mutated requests, some minutes; QUICK=1 some seconds; SEED=s draws the same again
	@$(BIN)/python -m fuzz --requests $(if $(QUICK),1500,$(REQUESTS)) $(if $(SEED),--seed $(SEED))

bench: $(INSTALLED) $(BENCH_INSTALLED) ## This service beside its peers (about an hour); QUICK=1 within three minutes; ONLY="small slow"
	@$(BIN)/python -m bench $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

check: $(INSTALLED) ## Format, lint, types, who may import whom, Dockerfile
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/hadolint Dockerfile
	@bash -n .ci/run && bash -n scripts/image-check && bash -n scripts/newest-python

format: $(INSTALLED) ## Put right what the formatter and the linter can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

image: ## Build the image; CONTAINERS=podman for another engine
	$(CONTAINERS) build -t $(IMAGE) .

image-check: $(INSTALLED) ## Build the image, run it and upload through it (needs root, buildah and podman)
	@PYTHON=$(BIN)/python bash scripts/image-check

newest-python: ## The fast half of the suite on the newest Python (needs root, debootstrap and Debian's packages)
	@bash scripts/newest-python

requirements: $(INSTALLED) ## Compile requirements.txt and requirements/*.txt again, with the newest releases allowed
	@$(PIP) install --quiet $(UV)
	$(COMPILE) --upgrade requirements/run.in -o requirements/run.txt
	$(COMPILE) --upgrade -c requirements/run.txt requirements/run.in requirements/test.in -o requirements.txt
	$(COMPILE) --upgrade requirements/bench.in -o requirements/bench.txt

clean: ## Remove what was made here: the environment, the demo's folder, the tools' caches
	rm -rf $(VENV) .demo .bench .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Installed again only when requirements.txt is newer than the last time that it went well.
$(INSTALLED): requirements.txt $(BIN)/python
	@echo "installing requirements into $(VENV) (the first time some 150 MB, about a minute) ..."
	@$(PIP) install --quiet -r requirements.txt
	@touch $@

# The peers' own environment, made with the same Python.
$(BENCH_INSTALLED): requirements/bench.txt $(INSTALLED)
	@echo "installing the benchmark's peers into $(BENCH_VENV) (the first time some 150 MB, about a minute) ..."
	@rm -rf $(BENCH_VENV)
	@$(BIN)/python -m venv $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python -m pip --disable-pip-version-check --no-input install --quiet -r requirements/bench.txt
	@touch $@

# Also when the Python that it was made with is gone.
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
