# `make demo` and `make test` need Python 3.11 with venv, and make; they set up the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOAK := $(addprefix stingar_dagster_tests/reliability/test_,any_order.py a_week.py crashes.py races.py storage_faults.py)

AZURITE := build/azurite/node_modules/azurite
DEPLOY := .venv-deploy/bin
# One more than cores: many tests wait for other processes. In the order of files, because those with
# few tests have the longest, which would come last and together.
WORKERS = $(shell $(PYTHON) -c 'import os; print(min(4, 1 + (os.cpu_count() or 1)))')

.PHONY: demo test azurite spark check check-deploy soak chain fuzz audit bench bench-quick bench-latency bench-fleet screenshots clean

$(VENV)/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test,check,postgres,celery,kubernetes,examples]'
	@touch $@

demo: $(VENV)/ready  ## sample traffic and Dagster's UI on http://127.0.0.1:3000
	$(BIN)/stingar demo

test: $(VENV)/ready azurite  ## the tests
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

azurite:  ## the stand-in for Azure's storage that tests use, in build/azurite; needs npm
	@if [ -d "$${STINGAR_AZURITE:-$(AZURITE)}" ]; then :; \
	elif command -v npm >/dev/null; then \
	  mkdir -p build/azurite && \
	  npm install --prefix build/azurite --no-save --no-audit --no-fund --loglevel=error azurite@3.37.0 || \
	  echo "npm can't get Azurite, so tests of Azure's storage are skipped"; \
	else echo "npm is not there, so tests of Azure's storage are skipped: install Node.js with npm"; fi

spark: $(VENV)/ready  ## PySpark, half a gigabyte, for examples/ and their tests; needs Java 17 or newer
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[spark]'

check: $(VENV)/ready  ## style, types, import contracts, definitions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/dg check defs

# In an environment of its own: checkov pins much that the project uses in other versions.
.venv-deploy/ready: deploy/azure/checks.txt
	$(PYTHON) -m venv .venv-deploy
	$(DEPLOY)/pip install --quiet --disable-pip-version-check --requirement deploy/azure/checks.txt
	@touch $@

check-deploy: .venv-deploy/ready  ## security analysis and formats of the deployment, without the network
	@mkdir -p build
	$(DEPLOY)/checkov --config-file deploy/azure/checkov.yaml > build/checkov.txt || { cat build/checkov.txt; exit 1; }
	@cat build/checkov.txt
	@grep -q 'bicep scan results' build/checkov.txt && grep -q 'dockerfile scan results' build/checkov.txt || \
	  { echo "checkov looked at nothing"; exit 1; }
	@! grep 'Parsing errors' build/checkov.txt || { echo "checkov could not read every file"; exit 1; }
	$(DEPLOY)/hadolint deploy/azure/Dockerfile
	$(DEPLOY)/zizmor --offline --quiet .github
	$(DEPLOY)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/deploy.yml
	$(DEPLOY)/check-jsonschema --builtin-schema vendor.gitlab-ci --data-transform gitlab-ci .gitlab-ci.yml

soak: $(VENV)/ready  ## the long versions of the tests of reliability: 45 minutes on two cores
	STINGAR_SOAK=1 $(BIN)/pytest --numprocesses auto --maxprocesses 4 --durations=10 $(SOAK)

chain: $(VENV)/ready  ## 50,000 lines from a log file to the lake, every part killed on the way; needs rsyslog
	STINGAR_CHAIN_LINES=$(or $(LINES),50000) $(BIN)/pytest -s -rA stingar_dagster_tests/kafka/test_chain.py

fuzz: $(VENV)/ready  ## ten minutes of each fuzzer
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[fuzz]'
	$(BIN)/python -m fuzz decoder --seconds 600
	$(BIN)/python -m fuzz gate --seconds 600

audit: $(VENV)/ready  ## known vulnerabilities of the pinned dependencies; needs the Internet
	$(BIN)/pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip

$(VENV)/bench: $(VENV)/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	@touch $@

bench: $(VENV)/bench  ## the whole suite of measurements, for the README and docs: hours; needs Java
	$(BIN)/python -m benchmarks.bench $(SECTIONS)
	$(BIN)/python -m benchmarks.report --docs

bench-quick: $(VENV)/ready  ## the engine against the loop, in a few minutes; fails where it got slower
	$(BIN)/python -m benchmarks.quick

bench-latency: $(VENV)/ready  ## from a capture to its published hour, under the demo
	$(BIN)/python -m benchmarks.latency

bench-fleet: $(VENV)/ready azurite  ## 48 hours of backfill through outages, and two workers against one; needs Redis and PostgreSQL
	$(BIN)/python -m benchmarks.fleet outages
	$(BIN)/python -m benchmarks.fleet ratio

screenshots: $(VENV)/ready  ## the pictures of the UI in docs/images, from a demo of their own; needs Chromium
	$(BIN)/python -m stingar_dagster_tests.browser.screenshots

clean:  ## the virtual environment and caches; data/ stays
	rm -rf $(VENV) .venv-deploy .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
