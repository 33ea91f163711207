# Every command of CONTRIBUTING in one place. Thin on purpose: what a target does is in serve_app/demo.

# The first Python that is one of the two the lock is for; a name on the PATH alone proves nothing.
PYTHON ?= $(shell for name in python3.12 python3.11 python3; do \
	$$name -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null && echo $$name && exit; done; echo python3)
DEMO = $(PYTHON) -m serve_app.demo
BIN = .venv/bin
SEED ?= 1
MINUTES ?= 45
UV = .local/uv/bin/uv
LOCK = $(UV) pip compile -q pyproject.toml --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-package torch

.DEFAULT_GOAL := help
.PHONY: help up down test check chaos soak lock clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*  ## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*  ## (.*)/  make \1\t\2/' | expand -t 16

up:  ## set up all that is missing and run the graph on http://127.0.0.1:8000 (PORT moves it)
	@$(DEMO) up

down:  ## stop what `make up` started, and nothing else
	@$(DEMO) down

test:  ## set up all that is missing and run every test
	@$(DEMO) prepare --dev --system
	$(BIN)/python -m pytest

check:  ## format, lint, types, import contracts
	@$(DEMO) prepare --dev --no-model
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

chaos:  ## break a gateway in every known way and check its promises (SEED moves the draw); reports in .local/chaos*
	@$(DEMO) prepare --dev --system
	$(BIN)/python -m loadtests.chaos --out .local/chaos --seed $(SEED); with_servers=$$?; \
	$(BIN)/python -m loadtests.chaos --out .local/chaos-embedded --seed $(SEED) --embedded --requests 2000; embedded=$$?; \
	exit $$((with_servers > embedded ? with_servers : embedded))

soak:  ## load a gateway for MINUTES and watch the memory of its processes; report in .local/soak
	@$(DEMO) prepare --dev --system
	$(BIN)/python -m loadtests.chaos.soak --out .local/soak --minutes $(MINUTES) --seed $(SEED)

lock:  ## resolve requirements/*.lock again from pyproject.toml
	@test -x $(UV) || ($(PYTHON) -m venv .local/uv && .local/uv/bin/pip install -q uv==0.13.9)
	$(LOCK) --extra cpu -o requirements/serve-cpu.lock
	$(LOCK) --extra cpu --extra train --extra loadtest --extra dev -o requirements/dev.lock

clean: down  ## remove what these commands made here; the model cache stays
	rm -rf .venv .local .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
