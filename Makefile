# Every task of the project. `make` or `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Python's user environment must not leak into the project's.
export PYTHONNOUSERSITE := 1
T ?= tests

.PHONY: help
help: ## List the tasks
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.ready: requirements.lock pyproject.toml
	@PYTHON="$(PYTHON)" deploy/setup.sh "$(VENV)"

.PHONY: setup
setup: $(VENV)/.ready ## Create .venv from the lock file (runs by itself when needed)

.PHONY: check
check: $(VENV)/.ready ## Format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright --level error
	$(BIN)/lint-imports

.PHONY: fix
fix: $(VENV)/.ready ## Format and mend what can be mended by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: lock
lock: ## Resolve requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile --python-version 3.11 --no-emit-index-url --universal --generate-hashes --quiet \
	  --all-extras --custom-compile-command "make lock" pyproject.toml -o requirements.lock

.PHONY: demo demo-reset demo-fault
PORT ?= 8000
DAYS ?= 45
DEMO_HOME ?= .run/demo
demo: $(VENV)/.ready assets ## A living building on this machine, nothing to install by hand (PORT=8000, DAYS=45)
	@$(BIN)/python -m deploy.demo --home $(DEMO_HOME) up --port $(PORT) --days $(DAYS)

demo-reset: $(VENV)/.ready ## Delete the demo's data and start over
	@$(BIN)/python -m deploy.demo --home $(DEMO_HOME) reset

demo-fault: $(VENV)/.ready ## Break a simulated device: DEVICE=meter-t201 [FAULT=register_stuck SIZE= POINT=]; mend it: CLEAR=1
	@$(BIN)/python -m deploy.demo --home $(DEMO_HOME) fault $(if $(CLEAR),clear) $(DEVICE) $(FAULT) $(if $(CLEAR),,$(if $(POINT),'$(SIZE)',$(SIZE)) $(POINT))

.PHONY: assets
assets: $(VENV)/.ready ## Front-end libraries and fonts, from npm by the lock file
	@if [ -f cloud_api/web/package-lock.json ]; then deploy/assets.sh; fi

.PHONY: services
services: $(VENV)/.ready ## What the tests need from Debian: Chromium, mosquitto, libmodbus, a TimescaleDB root
	@tests/services/install.sh

.PHONY: test
test: $(VENV)/.ready assets services ## Set up and run every test: embedded PostgreSQL, then real TimescaleDB
	@deploy/test.sh $(T)

.PHONY: bench
bench: $(VENV)/.ready ## Ratios against a limit measured in the same run (ROWS=400000)
	@$(BIN)/python -m tests.bench.ingest --rows $(or $(ROWS),400000)
	@$(BIN)/python -m tests.bench.backlog --share $(or $(SHARE),0.02)
	@$(BIN)/python -m tests.bench.ledger
	@$(BIN)/python -m tests.bench.billing
	@$(BIN)/python -m tests.bench.decode
	@$(BIN)/python -m tests.bench.faults
	@$(BIN)/python -m tests.bench.alarms
	@$(BIN)/python -m tests.bench.uplink
	@$(BIN)/python -m tests.bench.edge cpu
	@$(BIN)/python -m tests.bench.edge many
	@$(BIN)/python -m tests.bench.edge serial

.PHONY: schema dashboards porcelain
schema: $(VENV)/.ready ## Write cloud_api/db/schema.sql from the migrations
	@deploy/generate.d/schema.sh

dashboards: $(VENV)/.ready ## Write grafana/dashboards/*.json from code
	@deploy/generate.d/dashboards.sh

porcelain: $(VENV)/.ready ## Generate everything anew and fail on a difference
	@deploy/porcelain.sh
