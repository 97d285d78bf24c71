# Sapphire. `make` shows what there is. Needs python3 (3.11 or newer) and make, nothing else ('load' also wrk):
# every target that needs the environment makes it first, when it is missing or stale.

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
STAMP := .venv/.setup-stamp

# A moved or broken environment is stale too: the stamp holds the directory it was made in.
ifneq ($(shell $(BIN)/python -c 'print(open("$(STAMP)").read().strip())' 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

.DEFAULT_GOAL := help
.PHONY: help setup run up down status tune test chaos load lint format verify bench lock clean

help: ## Show this help
	@echo 'Sapphire: a multi-agent paper-trading cluster on Ray'
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo '  Options go in ARGS:  make run ARGS="--to 2003-01-01"'

$(STAMP): requirements.lock pyproject.toml Makefile tools/setup_environment.py
	@$(PYTHON) tools/setup_environment.py

setup: $(STAMP) ## Make or refresh the environment in .venv (other targets do it by themselves)

run: $(STAMP) ## Run a paper-trading session of the whole cluster on real data
	@exec $(BIN)/sapphire run $(ARGS)

up: $(STAMP) ## Start everything, ready for requests, until Ctrl-C
	@exec $(BIN)/sapphire up $(ARGS)

down: $(STAMP) ## Stop what 'make up ARGS=-d' (or a killed run) left running
	@exec $(BIN)/sapphire down $(ARGS)

status: $(STAMP) ## Ask every part how it is; exit 1 when something is not healthy
	@exec $(BIN)/sapphire status $(ARGS)

verify: $(STAMP) ## Check a session's journal (the last one, or ARGS=SESSION)
	@exec $(BIN)/sapphire verify $(ARGS)

tune: $(STAMP) ## Search parameters over the sample data, and say whether the winner is to be believed
	@exec $(BIN)/sapphire tune run $(ARGS)

test: $(STAMP) ## Run all tests
	@exec $(BIN)/python -m pytest $(ARGS)

chaos: $(STAMP) ## Kill parts of a cluster under load, drivers and clusters of studies; edit compiled code; check all
	@exec $(BIN)/python -m pytest tests/chaos/chaos_faults.py tests/chaos/chaos_tune.py tests/chaos/chaos_cluster.py tests/chaos/chaos_edit.py -s $(ARGS)

load: $(STAMP) ## Measure the coordinator under load, beside the floors of the same run (needs wrk)
	@exec $(BIN)/python -m benchmarks.load $(ARGS)

lint: $(STAMP) ## Check style, formatting, types, floors and module lengths
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python tools/check_module_length.py

format: $(STAMP) ## Format the sources and mend what ruff can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(STAMP) ## Measure speed and memory, beside other engines
	@exec $(BIN)/python -m benchmarks.run $(ARGS)

lock: $(STAMP) ## Resolve pyproject.toml anew into requirements.lock (needs a package index)
	@$(BIN)/python -m uv pip compile --quiet --universal --generate-hashes --no-emit-index-url \
		--no-emit-find-links --extra dev pyproject.toml -o requirements.lock

clean: ## Remove the environment and all caches (never .sapphire, which holds your data)
	rm -rf .venv .bench build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
