# Rule: every target works from nothing (no environment, no engine, no images) and says in one sentence what it cannot do.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
TESTBED := $(VENV)/bin/testbed
STAMP := $(VENV)/.installed
JOBS ?= auto
# what pip says of its own version is no news here
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup mesh browser test test-unit faults lint schema lock clean distclean

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed ($$($(PYTHON) --version) found): make setup PYTHON=/path/to/python3.11"; exit 3; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -yqq python3-venv; \
	  else echo "Python's venv module is missing: install your distribution's python3-venv, then run this again"; exit 3; fi; }
	@echo "environment: $(VENV) (pinned by requirements.lock)"
	@rm -rf $(VENV) && $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --require-hashes -r requirements.lock
	@$(VENV)/bin/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

setup: $(STAMP)  ## the Python environment, with pinned dependencies

mesh: setup  ## the main job: engine, images, the default scenario (SCENARIO=…), report
	@$(TESTBED) run $(or $(SCENARIO),scenarios/manifesto-2014.yaml); s=$$?; [ $$s = 1 ] && exit 0; exit $$s

browser:  ## Chromium and its driver, and where npm is there TypeScript, for the tests of report.html (else those are skipped)
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -yqq --no-install-recommends chromium chromium-driver >/dev/null; \
	  else false; fi; } || echo "no Chromium here: the tests of report.html are skipped (install chromium and chromium-driver)"
	@command -v npm >/dev/null || { echo "no npm here: the types of the page's scripts are not checked"; exit 0; }; \
	  test tests/browser/node_modules/.package-lock.json -nt tests/browser/package-lock.json \
	  || npm ci --prefix tests/browser --silent --no-audit --no-fund --fetch-retries 0 || echo "npm got no TypeScript: types are not checked"

test: setup browser  ## every test, real containers included (sets up all that it needs)
	@$(TESTBED) images build --for scenarios/smoke.yaml
	@$(VENV)/bin/pytest -n $(JOBS) --dist loadfile

test-unit: setup  ## the tests that need no engine
	@$(VENV)/bin/pytest -n $(JOBS) -m "not engine and not browser"

faults: setup  ## the long tests of faults: about 24 s each on two busy cores (FAULTS_SEED=… draws other moments; FAULTS=… chooses, as pytest's -k)
	@$(if $(FAULTS),,FAULTS_WORDS=drawn $(VENV)/bin/pytest -q tests/faults/test_words.py)
	@$(TESTBED) images build --for tests/faults/scenario.yaml
	@FAULTS_LOG=$(or $(FAULTS_LOG),results/faults.jsonl) $(VENV)/bin/pytest -v -n $(JOBS) --dist load -m faults tests/faults $(if $(FAULTS),-k "$(FAULTS)")

lint: setup  ## ruff, mypy --strict, and the published schemas are current
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(TESTBED) schema --check

schema: setup  ## write the JSON Schemas and the generated tables of docs/
	@$(TESTBED) schema --write

lock:  ## resolve the pinned dependencies anew (needs uv)
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --extra dev --extra parquet -q -o requirements.lock pyproject.toml

clean:  ## containers, networks and the private engine of the testbed; keeps results/ and the images
	@if [ -x $(TESTBED) ]; then $(TESTBED) clean; fi

distclean: clean  ## also the images, the engine's data and the environment
	@if [ -x $(TESTBED) ]; then $(TESTBED) clean --images; fi
	@rm -rf $(VENV)
