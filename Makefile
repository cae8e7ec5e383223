# colorlab's commands. Each sets up what it needs; a second call installs nothing.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.DEFAULT_GOAL := help
.PHONY: help setup browser store train test lint format clean

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

store: .venv/store/ready  ## install moto's S3 server, where one may; without it the tests of buckets will be skipped

.venv/store/ready: $(READY)  # apart from the rest: its boto3 holds python-dateutil back
	@$(PYTHON) -m venv .venv/store && \
		.venv/store/bin/python -m pip install --quiet 'moto[s3]==5.2.5' flask==3.1.3 flask-cors==6.0.5 && touch $@ || \
		echo "moto cannot be installed: the tests of buckets will be skipped."

train: $(READY)  ## train the demo on the built-in photographs: minutes, no GPU, no download
	$(BIN)/python -m colorlab.train experiment=demo

test: $(READY) browser store  ## run the tests
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile

lint: $(READY)  ## check the code's style
	$(BIN)/ruff check colorlab tests
	$(BIN)/ruff format --check colorlab tests

format: $(READY)  ## bring the code into style
	$(BIN)/ruff check --fix colorlab tests
	$(BIN)/ruff format colorlab tests

clean:  ## remove the environment; runs/ stays
	rm -rf .venv
