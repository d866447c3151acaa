# From a fresh checkout: `make quickstart` or `make test`. Needs Python 3.11 or newer; everything goes into .venv
# (and what builds the documentation into .venv-docs).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DOCS := .venv-docs

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help quickstart test slow check docs wheel clean distclean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

quickstart: $(VENV)/installed ## install robustcsc and run its first experiment
	$(BIN)/robustcsc quickstart

test: $(VENV)/installed-dev ## install robustcsc with its tools and run the tests that take seconds
	PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $(BIN)/python -m pytest -p xdist -p hypothesispytest \
		-m "not slow" --numprocesses auto --maxprocesses 8 --dist worksteal

slow: $(VENV)/installed-dev ## run the tests that take longer
	$(BIN)/python -m pytest -m slow

check: $(VENV)/installed-dev ## lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(DOCS)/installed ## build the documentation into site/
	$(DOCS)/bin/python -m mkdocs build --strict

wheel: $(VENV)/installed-dev ## build the wheel into dist/
	rm -rf build
	$(BIN)/python -m build --wheel

clean: ## remove what builds and tools left behind; keeps .venv and runs/
	rm -rf build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -path ./.git -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean ## the same, and remove .venv and .venv-docs
	rm -rf $(VENV) $(DOCS) robustcsc.egg-info

# The files `installed` and `installed-dev` are as new as the installation: a change of pyproject.toml repeats it.
$(VENV)/installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check --editable ".[dev]"
	@touch $(VENV)/installed $@

# The documentation has an environment of its own (docs/requirements.txt says why), without torch: it reads the sources,
# and its notebooks are executed by a kernel in .venv.
$(DOCS)/installed: docs/requirements.txt pyproject.toml $(VENV)/installed-dev
	$(BIN)/python -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --disable-pip-version-check --requirement docs/requirements.txt
	$(DOCS)/bin/python -m pip install --disable-pip-version-check --no-deps --editable .
	$(BIN)/python -m ipykernel install --prefix $(DOCS) --name robustcsc
	@touch $@

$(BIN)/python:
	@command -v "$(PYTHON)" >/dev/null || { echo "robustcsc needs Python 3.11 or newer, but there is no '$(PYTHON)':" \
		"install it, or name one with make PYTHON=/path/to/python3." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "robustcsc needs Python 3.11 or newer," \
		"but '$(PYTHON)' is $$("$(PYTHON)" -V 2>&1): name a newer one with make PYTHON=/path/to/python3." >&2; exit 1; }
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); echo "'$(PYTHON)' cannot create virtual environments:" \
		"on Debian, install the package python3-venv." >&2; exit 1; }
