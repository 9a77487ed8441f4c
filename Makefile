# Every target sets itself up: a virtual environment in .venv, made once from constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow doctest recipes docs lint format types clean

help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

setup: $(STAMP)  ## Make .venv and install the tested set of versions

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.version_info >= (3, 10) or sys.exit("Python 3.10 or newer is needed, $(PYTHON) is " + v + ": name another, for example: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	@echo "==> Installing into $(VENV) from constraints.txt, once."
	@echo "    On Linux the download is about 3.2 GB and takes 6.4 GB on disk, nearly all of it"
	@echo "    PyTorch with its CUDA libraries; on macOS it is well below 1 GB."
	@echo "    What is there already is not downloaded again."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable ".[zoo,dev,docs]"
	@echo "==> Checking that torch and torchvision load together"
	$(BIN)/python -c "import torch, torchvision, torchvision.ops, lightning; print('torch', torch.__version__, 'torchvision', torchvision.__version__, 'lightning', lightning.__version__)"
	@touch $(STAMP)

demo: $(STAMP)  ## Train, programme 25 chips, age them a year, print the table (under 3 minutes)
	$(BIN)/aimc-lightning run resnet8_digits --resume

test: $(STAMP)  ## Run the test suite on the CPU, without a network
	$(BIN)/python -m pytest

test-slow: $(STAMP)  ## Run the tests marked slow as well
	$(BIN)/python -m pytest -m "slow or not slow"

doctest: $(STAMP)  ## Run the examples in the docstrings
	$(BIN)/python -m pytest --doctest-modules aimc_lightning

recipes: $(STAMP)  ## Run every recipe on one batch
	$(BIN)/python -m pytest tests/recipes

docs: $(STAMP)  ## Run the code of the pages, draw their figures, build the site into site/
	$(BIN)/python -m docs.tools.run_pages
	$(BIN)/python -m docs.tools.figures
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lint: $(STAMP)  ## Check format, style and spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell

format: $(STAMP)  ## Rewrite files to the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(STAMP)  ## Check types
	$(BIN)/mypy

clean:  ## Remove caches and builds; keeps .venv and runs
	rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
