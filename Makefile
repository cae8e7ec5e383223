# colorlab's commands. Each sets up what it needs; a second call installs nothing.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
FAULTS := runs/faults.jsonl
TESTERS = $(shell $(PYTHON) -c "import os; print(min(8, os.cpu_count() + 1))")
RESULTS_DATA = $(if $(PHOTOS),data=folder 'data.root=$(PHOTOS)',data=samples data.batch_size=8)

.DEFAULT_GOAL := help
.PHONY: help setup browser train reproduce test faults clusters audit lint format clean

help:     ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 12

setup: $(READY)  ## make .venv with the pinned packages

$(READY): constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

browser:  ## install Debian's Chromium for the tests of pages, where one may; without it they are skipped
	@{ command -v chromium && command -v chromedriver; } >/dev/null || \
		{ [ "$$(id -u)" = 0 ] && apt-get -qq update && apt-get -qq install --no-install-recommends chromium chromium-driver; } \
		>/dev/null 2>&1 || echo "No Chromium here, and it cannot be installed: the tests of pages will be skipped."

train: $(READY)  ## train the demo on the built-in photographs: minutes, no GPU, no download
	$(BIN)/python -m colorlab.train experiment=demo

reproduce: $(READY)  ## train and judge the README's results again, on the built-in photographs; PHOTOS=FOLDER: on those
	@set -e; at=runs/reproduce/$$(date +%Y-%m-%d_%H-%M-%S); set -x; \
	$(BIN)/python -m colorlab.train -m experiment=results_cunet,results_eccv16 \
		objective=mse,rebalanced_classification $(RESULTS_DATA) hydra.sweep.dir=$$at; \
	$(BIN)/python -m colorlab.train experiment=results_best $(RESULTS_DATA) hydra.run.dir=$$at/best; \
	$(BIN)/python -m colorlab.evaluate checkpoint=$$(echo $$at/*/ | tr ' ' ,) $(RESULTS_DATA) \
		against=docs/results/$(if $(PHOTOS),full,small)/evaluation.json hydra.run.dir=$$at/evaluation

test: $(READY) browser  ## run the tests
	$(BIN)/python -m pytest --numprocesses $(TESTERS) --dist loadfile

faults: $(READY)  ## inject every fault many times, and write the README's table: about half an hour
	@mkdir -p runs && rm -f $(FAULTS)
	FAULTS=$(CURDIR)/$(FAULTS) $(BIN)/python -m pytest tests/faults -m 'faults or not faults'; \
		code=$$?; $(BIN)/python tests/faults/table.py $(FAULTS) docs/reliability.md; exit $$code

clusters: $(READY)  ## run the tests of launchers: joblib, submitit, Ray, and SLURM, which is installed where one may
	@command -v slurmctld munged >/dev/null || \
		{ [ "$$(id -u)" = 0 ] && apt-get -qq update && apt-get -qq install --no-install-recommends slurm-wlm munge; } \
		>/dev/null 2>&1 || echo "No SLURM here, and it cannot be installed: its tests will be skipped."
	$(BIN)/python -m pytest -m cluster

audit: $(READY)  ## look the pinned packages up among the known vulnerabilities; needs PyPI itself, a mirror does not have them
	$(PYTHON) -m venv .venv/audit && .venv/audit/bin/python -m pip install --quiet pip-audit
	.venv/audit/bin/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip

lint: $(READY)  ## check the code's style
	$(BIN)/ruff check colorlab hydra_plugins tests
	$(BIN)/ruff format --check colorlab hydra_plugins tests

format: $(READY)  ## bring the code into style
	$(BIN)/ruff check --fix colorlab hydra_plugins tests
	$(BIN)/ruff format colorlab hydra_plugins tests

clean:  ## remove the environment; runs/ stays
	rm -rf .venv
