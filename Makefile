PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

OTHERS := 3.12 3.13
PORTABLE := $(addprefix tests/,store flows data notebook methods models observations monitoring state)

.PHONY: run serve test test-slow test-ladder test-others lint docs install clean

run: $(VENV)/.run  ## install, then the main job: twin, training, assimilation, report
	$(BIN)/vardax run lorenz96-sparse

serve: $(VENV)/.run  ## install, then the service: server, workers, scheduled deployments
	$(BIN)/vardax serve

test: $(VENV)/.test  ## install, then the tests
	JAX_PLATFORMS=cpu $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'not ladder and not slow'

test-slow: $(VENV)/.test  ## install, then real servers, kills, studies and whole experiments
	JAX_PLATFORMS=cpu $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'slow and not ladder'

test-ladder: $(VENV)/.test  ## install, then the laws of the whole method ladder
	JAX_PLATFORMS=cpu $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m ladder

test-others: $(addprefix test-python,$(OTHERS))  ## the same on other Pythons that are at hand, a third of the tests

test-python%:
	@export PYENV_VERSION=$$(pyenv latest $* 2>/dev/null); \
	if ! python$* --version >/dev/null 2>&1; then echo "Python $* is not at hand: nothing is tested on it."; exit 0; fi; \
	set -e; python$* -m venv .venv-$*; \
	.venv-$*/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[all,test]'; \
	JAX_PLATFORMS=cpu .venv-$*/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'not ladder and not slow' $(PORTABLE)

lint: $(VENV)/.test  ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/.test  ## the pages of the documentation, in build/site
	$(BIN)/python docs/make.py
	$(BIN)/mkdocs build --strict

install: $(VENV)/.run

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml setup.py constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all]'
	touch $@

$(VENV)/.test: pyproject.toml setup.py constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,docs,test]'
	touch $@ $(VENV)/.run

clean:  ## remove what was built and the virtual environment; stores and reports stay
	rm -rf $(VENV) $(VENV)-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
