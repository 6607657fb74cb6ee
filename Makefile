# speedbench: `make demo` shows it, `make test` checks it, `make help` lists the rest.

# The first of these that really runs (a version manager's shim may not) and is new enough.
ifndef PYTHON
PYTHON = $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& { echo $$p; break; }; done)
endif
ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif
STAMP := .venv/.setup-stamp

# `$(call timed,COMMANDS,NEXT)`: their wall time, then what to look at next.  They are one
# && chain, so the first that fails fails make.
timed = @began=$$(date +%s); $(1) && echo "wall time: $$(($$(date +%s) - began)) s" && echo "next: $(strip $(2))"

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-engines check format lock bench-peers bench-client docs clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv from requirements.lock
	@:

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "setup: no Python >= 3.11 with venv found; say make setup PYTHON=..." >&2; exit 4; }
	@$(PYTHON) tools/setup.py

DEMO := speedbench-runs/demo-$(shell date +%Y%m%d-%H%M%S)
demo: ## the whole story on a real engine, no arguments
	$(call timed,$(MAKE) --no-print-directory setup && $(BIN)/speedbench quickstart --output $(DEMO),\
	open $(DEMO)/report.html; the estimates are in $(DEMO)/summary.json)

test: ## check, then the tests
	$(call timed,$(MAKE) --no-print-directory check && $(BIN)/python -m pytest,make demo)

ENGINES := build/engines/found.json
test-engines: setup ## vLLM and llama.cpp, installed by themselves and measured with each method
	$(call timed,mkdir -p build/engines && $(BIN)/python tools/engines.py --output $(ENGINES) \
	&& SPEEDBENCH_ENGINES=$(ENGINES) $(BIN)/python -m pytest -m engines -rs tests/real_engines,\
	look at build/engines.json)

check: setup ## style, types, import contracts, examples in the documentation
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/check_docs.py

format: setup ## rewrite the code the way check wants it
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: ## write requirements.lock anew; UPGRADE=1 takes the newest versions
	@$(PYTHON) tools/lock.py $(if $(UPGRADE),--upgrade)

bench-peers: setup ## install other load clients, each by itself, under build/peers
	$(BIN)/python benchmarks/client_install.py

bench-client: setup ## the load client beside a C floor and what bench-peers installed
	$(BIN)/python benchmarks/client.py

docs: setup ## build the documentation into site/
	$(BIN)/python tools/reference.py
	$(BIN)/zensical build --clean

clean: ## remove everything make has made; runs are kept
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .cache
	rm -rf build dist site docs/reference/api
	find $(wildcard src tests tools models benchmarks) -name __pycache__ -type d -prune -exec rm -rf {} +
