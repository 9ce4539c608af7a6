# make install | lab | hub | test | bench | lint | lock.   PYTHON=python3.12 make install   chooses another interpreter.

PYTHON ?= python3
JOBS ?= 2
# For pytest: make test ARGS="-k tiles -x"
ARGS ?=
NOTEBOOK ?= notebooks/01-first-map.ipynb

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PROXY := node_modules/.package-lock.json
SOURCES := muses_lab widgets tests notebooks benchmarks deploy jupyterhub_config.py

.PHONY: install lab hub test bench lint format lock browser clean
.DEFAULT_GOAL := install

# $(call need,command that succeeds when it is there,Debian packages): installs them where we may, else names them.
define need
	@{ $(1); } >/dev/null 2>&1 || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $(2); \
	  else \
	    echo "Missing: $(2). Install it first, on Debian or Ubuntu with: sudo apt-get install $(2)" >&2; exit 1; \
	  fi; }
endef

install: $(INSTALLED)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || { \
	  echo "MUSES Lab needs Python 3.11 to 3.13, but '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one, for example: make install PYTHON=python3.11" >&2; exit 1; }
	$(call need,$(PYTHON) -c 'import ensurepip',python3-venv)
	$(PYTHON) -m venv $(VENV)

# The lock decides every version, that of uv included. Where only pip is configured for the registry (its own certificates,
# a mirror), pip does uv's work. Jupyter's settings come with the package, see pyproject.toml.
export UV_SYSTEM_CERTS ?= 1
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
UV := $(BIN)/uv pip --quiet

$(INSTALLED): requirements.lock pyproject.toml $(wildcard jupyter-config/*.json) | $(BIN)/python
	$(PIP) install "$$(sed -n 's/^\(uv==[^ ;]*\).*/\1/p' requirements.lock)"
	$(UV) sync --python $(BIN)/python requirements.lock || $(PIP) install --require-hashes --no-deps -r requirements.lock
	$(UV) install --python $(BIN)/python --no-deps --reinstall-package muses-lab --editable . \
	  || $(PIP) install --no-deps --editable .
	$(BIN)/python -m muses_lab.warm
	@touch $@

# JupyterLab prints its URL, which carries the token that keeps other users of this machine out.
lab: install
	$(BIN)/muses-lab sample
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --LabApp.default_url=/lab/tree/$(NOTEBOOK)

# JupyterHub with a Dask cluster for each user, on loopback; jupyterhub_config.py lists the settings. Ctrl-C ends it.
hub: install $(PROXY)
	@exec $(BIN)/python -m muses_lab.deployment.run

# JupyterHub's proxy is a Node program; package-lock.json decides its version.
$(PROXY): package-lock.json
	$(call need,command -v npm && node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)',nodejs npm)
	npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# Everything: slow tests too, and those in a real browser, which get the machine to themselves. ARGS choose within all.
test: install browser $(PROXY)
ifeq ($(strip $(ARGS)),)
	@failed=0; set -x; \
	$(BIN)/pytest -n $(JOBS) --dist loadgroup -m "not browser" || failed=1; \
	$(BIN)/pytest -m browser || failed=1; \
	exit $$failed
else
	$(BIN)/pytest -n $(JOBS) --dist loadgroup $(ARGS)
endif

browser:
	$(call need,command -v chromium || command -v chromium-browser || command -v google-chrome,chromium)

# This engine against the limit and against other systems: benchmarks/README.md. make bench ARGS="--only W1,W2"
bench: install
	$(BIN)/python -m benchmarks.run $(ARGS)

lint: install
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

lock: install
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes -o requirements.lock

clean:
	rm -rf $(VENV)
