# `make help` lists the commands. The first one creates .venv and installs into it; later ones install only if the
# requirements have changed.
.DEFAULT_GOAL := help
.PHONY: help train test test-all test-faults test-hydra lint format bench clean

VENV := .venv
BIN := $(VENV)/bin
REQUIREMENTS := pyproject.toml constraints.txt
ARGS :=
# The newest supported interpreter that can create an environment.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	$$p -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  Pass overrides and options with ARGS: make train ARGS="trainer.max_epochs=2"'

train: $(VENV)/.installed ## train the network (on MNIST in MNIST_ROOT or data/; downloads it if missing)
	$(BIN)/python train.py $(ARGS)

PYTEST := $(BIN)/python -m pytest
AT_ONCE := --numprocesses auto --maxprocesses 4 --dist worksteal

# Several test processes run at once, so each computes with one thread.
test: $(VENV)/.installed-dev ## run the tests, in a minute or two; with CI set, the slow ones too
ifdef ARGS
	$(PYTEST) $(if $(CI),,-m "not slow and not long") $(ARGS)
else ifdef CI
	OMP_NUM_THREADS=1 $(PYTEST) -m "not alone and not long" $(AT_ONCE)
	$(PYTEST) -m alone
else
	OMP_NUM_THREADS=1 $(PYTEST) -m "not slow and not long" $(AT_ONCE)
endif

test-all: $(VENV)/.installed-dev ## run every test, in more than an hour, on a quiet machine
	CI=1 $(MAKE) test ARGS=
	$(PYTEST) -m long
	$(MAKE) test-faults ARGS=

test-faults: $(VENV)/.installed-dev ## interrupt trainings in six ways, 300 times, resume and compare them, in a quarter of an hour
	$(BIN)/python -W ignore -m tests.faults.harness $(or $(ARGS),50)

test-hydra: $(VENV)-hydra/.installed ## check the command line with the next Hydra, in a separate environment without torch
	$(VENV)-hydra/bin/python -m pytest -m "not alone" tests/test_overrides.py tests/test_config.py tests/test_validation.py tests/test_errors.py

# Node.js: of the system, or else of the Python package.
NPX = $(shell command -v npx || echo $(BIN)/npx)

lint: $(VENV)/.installed-dev ## check format, style, types, imports, and the files of services
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python docs/schemas.py --check
	$(BIN)/validate-pyproject pyproject.toml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
	$(NPX) --yes --package typescript@5.9.3 -- tsc --project src/digits/explanation/draw

format: $(VENV)/.installed-dev ## correct the format, and the style where possible; write the schemas of conf/
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	$(BIN)/python docs/schemas.py

bench: $(VENV)/.installed ## repeat the benchmarks that need no GPU, in an hour or more; ARGS=--quick: in minutes
	@set -e; for name in recipes prediction loader scale loop augmentation photos sweeps; do $(BIN)/python benchmarks/$$name.py $(ARGS); done

clean: ## remove the environment and the caches; runs and data stay
	rm -rf $(VENV) $(VENV)-hydra .mypy_cache .pytest_cache .ruff_cache

# An environment contains absolute paths: a checkout that was moved or copied gets a new one. The file .installed names
# the checkout that the environment belongs to. A link to an environment is never replaced.
.PHONY: moved
moved = $(shell [ -L "$(patsubst %/,%,$(dir $(1)))" ] || [ "$$(cat $(1) 2>/dev/null)" = "$(CURDIR)" ] || echo moved)

$(VENV)/.installed: $(REQUIREMENTS) $(call moved,$(VENV)/.installed)
	$(call install,.)
	@echo "$(CURDIR)" > $@

$(VENV)/.installed-dev: $(REQUIREMENTS) $(call moved,$(VENV)/.installed-dev)
	$(call install,.[dev])
	@echo "$(CURDIR)" | tee $@ > $(VENV)/.installed

# The next Hydra, and the packages that the command line needs.
NEXT_HYDRA := hydra-core==1.4.0rc3 omegaconf>=2.4 hydra-joblib-launcher hydra-submitit-launcher
WITHOUT_TORCH := annotated-types filelock numpy pillow pydantic pytest pytest-timeout PyYAML rich typer typing_extensions

$(VENV)-hydra/.installed: $(REQUIREMENTS) Makefile $(call moved,$(VENV)-hydra/.installed)
	@$(PYTHON) -m venv --clear $(VENV)-hydra
	@$(VENV)-hydra/bin/python -m pip install --quiet --no-compile $(foreach each,$(NEXT_HYDRA) $(WITHOUT_TORCH),'$(each)')
	@$(VENV)-hydra/bin/python -m pip install --quiet --no-deps --editable .
	@echo "$(CURDIR)" > $@

# --no-compile: Python compiles modules when it imports them; compiling all takes 50 s.
define install
@test -n "$(PYTHON)" || { echo 'make: no Python 3.11, 3.12 or 3.13 with venv was found; name one: make PYTHON=/path/to/python' >&2; exit 2; }
@echo 'Installing into $(VENV), once; torch with its GPU libraries is several gigabytes ...'
@$(PYTHON) -m venv $(if $(call moved,$(VENV)/.installed),--clear) $(VENV)
@$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '$(1)'
endef
