# Everything that a person does here, by one word. `make help` lists it.
# The first command creates .venv and installs; later ones only when the requirements have changed.
.DEFAULT_GOAL := help
.PHONY: help train test test-faults lint format bench clean

VENV := .venv
BIN := $(VENV)/bin
REQUIREMENTS := pyproject.toml constraints.txt
ARGS :=
# The newest interpreter that runs, is supported, and can make an environment.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	$$p -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  Overrides and options are passed on: make train ARGS="trainer.max_epochs=2"'

train: $(VENV)/.installed ## train the network (MNIST_ROOT or data/ holds the digits; otherwise they are fetched)
	$(BIN)/python train.py $(ARGS)

# With CI, the tests of a file stay in one process: the slow ones of the README build on each other.
test: $(VENV)/.installed-dev ## run the tests; the slow ones too where CI is set
ifdef ARGS
	$(BIN)/python -m pytest $(if $(CI),,-m "not slow") $(ARGS)
else
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not $(if $(CI),alone,slow)" --numprocesses auto --maxprocesses 4 --dist $(if $(CI),loadscope,load)
	$(if $(CI),$(BIN)/python -m pytest -m alone)
endif

test-faults: $(VENV)/.installed-dev ## cut trainings off in every way, 270 times, and compare their ends, in a quarter of an hour
	$(BIN)/python -W ignore -m tests.faults.harness $(or $(ARGS),45)

lint: $(VENV)/.installed-dev ## check format, style and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

format: $(VENV)/.installed-dev ## put the format right, and what of the style can be
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(VENV)/.installed ## measure everything anew, for an hour or more; ARGS=--quick for some minutes
	@set -e; for name in recipes prediction loader scale loop augmentation photos sweeps; do $(BIN)/python benchmarks/$$name.py $(ARGS); done

clean: ## remove the environment and the caches; runs and data stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache

$(VENV)/.installed: $(REQUIREMENTS)
	$(call install,.)
	@touch $@

$(VENV)/.installed-dev: $(REQUIREMENTS)
	$(call install,.[dev])
	@touch $(VENV)/.installed $@

define install
@test -n "$(PYTHON)" || { echo 'make: no Python 3.11, 3.12 or 3.13 with venv was found; name one: make PYTHON=/path/to/python' >&2; exit 2; }
@echo 'Installing into $(VENV), once; torch with its GPU libraries is several gigabytes ...'
@$(PYTHON) -m venv $(VENV)
@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '$(1)'
endef
