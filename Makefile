# Development commands. Each one installs what it needs, once.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
FAULTS := runs/faults.jsonl
TESTERS = $(shell $(PYTHON) -c "import os; print(min(8, os.cpu_count() + 1))")
RESULTS_DATA = $(if $(PHOTOS),data=folder 'data.root=$(PHOTOS)',data=samples data.batch_size=8)

.DEFAULT_GOAL := help
.PHONY: help setup browser train reproduce test slow faults clusters audit reference lint format clean

help:     ## list these commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 12

setup: $(READY)  ## create .venv with pinned versions of all packages

$(READY): constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

browser:  ## install Chromium for the tests of web pages, if permitted; without it they are skipped
	@{ command -v chromium && command -v chromedriver; } >/dev/null || \
		{ [ "$$(id -u)" = 0 ] && apt-get -qq update && apt-get -qq install --no-install-recommends chromium chromium-driver; } \
		>/dev/null 2>&1 || echo "Chromium cannot be installed: the tests of web pages will be skipped."

train: $(READY)  ## train on the built-in photographs: minutes, no GPU, no data to download
	$(BIN)/python -m colorlab.train experiment=demo

reproduce: $(READY)  ## repeat the trainings of docs/results.md; PHOTOS=FOLDER uses your photographs
	@set -e; at=runs/reproduce/$$(date +%Y-%m-%d_%H-%M-%S); set -x; \
	$(BIN)/python -m colorlab.train -m experiment=results_cunet,results_eccv16 \
		objective=mse,rebalanced_classification $(RESULTS_DATA) hydra.sweep.dir=$$at; \
	$(BIN)/python -m colorlab.train experiment=results_best $(RESULTS_DATA) hydra.run.dir=$$at/best; \
	$(BIN)/python -m colorlab.evaluate checkpoint=$$(echo $$at/*/ | tr ' ' ,) $(RESULTS_DATA) \
		against=docs/results/$(if $(PHOTOS),full,small)/evaluation.json hydra.run.dir=$$at/evaluation

test: $(READY) browser  ## run the tests
	$(BIN)/python -m pytest --numprocesses $(TESTERS) --dist loadfile --no-loadscope-reorder

slow: $(READY)  ## run the tests that repeat others with more networks, formats and values
	$(BIN)/python -m pytest -m slow

faults: $(READY)  ## inject every fault many times and write the table of docs/reliability.md: about half an hour
	@mkdir -p runs && rm -f $(FAULTS)
	FAULTS=$(CURDIR)/$(FAULTS) $(BIN)/python -m pytest tests/faults -m 'faults or not faults'; \
		code=$$?; $(BIN)/python tests/faults/table.py $(FAULTS) docs/reliability.md; exit $$code

clusters: $(READY)  ## test the launchers: joblib, submitit, Ray, and SLURM, which is installed if permitted
	@command -v slurmctld munged >/dev/null || \
		{ [ "$$(id -u)" = 0 ] && apt-get -qq update && apt-get -qq install --no-install-recommends slurm-wlm munge; } \
		>/dev/null 2>&1 || echo "SLURM cannot be installed: its tests will be skipped."
	$(BIN)/python -m pytest -m cluster

audit: $(READY)  ## check the pinned packages for known vulnerabilities; needs PyPI, not a mirror
	$(PYTHON) -m venv .venv/audit && .venv/audit/bin/python -m pip install --quiet pip-audit
	.venv/audit/bin/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip

reference: $(READY)  ## write docs/reference.md from conf/ and the constructors
	$(BIN)/python docs/make_reference.py

lint: $(READY)  ## check the style and the types of the code
	$(BIN)/ruff check colorlab docs hydra_plugins tests
	$(BIN)/ruff format --check colorlab docs hydra_plugins tests
	$(BIN)/mypy

format: $(READY)  ## format the code
	$(BIN)/ruff check --fix colorlab docs hydra_plugins tests
	$(BIN)/ruff format colorlab docs hydra_plugins tests

clean:  ## remove the environment; runs/ is kept
	rm -rf .venv
