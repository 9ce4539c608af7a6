# make install | lab | app | hub | docs | test | test-thorough | bench | lint | lock.   PYTHON=python3.12 make install   chooses another interpreter.

PYTHON ?= python3
# Processes that run tests: more than cores, because tests wait for what they have started; four take as long as three.
JOBS ?= 3
# For pytest: make test ARGS="-k tiles -x"
ARGS ?=
# Where `make lab` keeps the user's own notebooks, copies of those in notebooks/, and which of them it opens.
LAB ?= $(if $(MUSES_LAB_HOME),$(MUSES_LAB_HOME)/notebooks,$(HOME)/muses-lab)
NOTEBOOK ?= 01-first-map.ipynb
# The one that `make app` shows without its code.
APP ?= app-history-of-fields.ipynb

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PROXY := node_modules/.package-lock.json
JS_TOOLS := node_modules/.bin/eslint
STEP := @sh tools/step
SOURCES := muses_lab widgets tests notebooks benchmarks deploy tools docs/*.py jupyterhub_config.py

# Images of Python set this: each process that is started here would compile what it imports once more, for seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install lab app hub docs test test-thorough bench lint format lock browser clean
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
	$(STEP) "Making the environment $(VENV)" $(PYTHON) -m venv $(VENV)

# The lock decides every version, that of uv included. Where only pip is configured for the registry (its own certificates,
# a mirror), pip does uv's work. Jupyter's settings come with the package, see pyproject.toml.
export UV_SYSTEM_CERTS ?= 1
PIP := $(BIN)/python -m pip --disable-pip-version-check
UV := $(BIN)/uv pip

$(INSTALLED): requirements.lock pyproject.toml $(wildcard jupyter-config/*.json) | $(BIN)/python
	$(STEP) --bar "Getting the installer" $(PIP) install "$$(sed -n 's/^\(uv==[^ ;]*\).*/\1/p' requirements.lock)"
	$(STEP) --bar "Installing $$(grep -c '^[a-z].*==' requirements.lock) packages: 2.2 GB" sh -c ' \
	  $(UV) sync --python $(BIN)/python requirements.lock || $(PIP) install --require-hashes --no-deps -r requirements.lock'
	$(STEP) --bar "Installing MUSES Lab" sh -c ' \
	  $(UV) install --python $(BIN)/python --no-deps --reinstall-package muses-lab --editable . \
	  || $(PIP) install --no-deps --editable .'
	$(STEP) "Compiling what draws maps, once: about a minute" $(BIN)/python -m muses_lab.warm
	@echo '{}' > $(VENV)/package.json  # JupyterLab's scripts for Node below are no ES modules, as ours are
	@touch $@

# What one opens: sample scenes, and copies of the notebooks.
define prepare
	@echo "── Sample scenes, once: under a minute"
	@$(BIN)/muses-lab sample
	@$(BIN)/python -m muses_lab.notebooks notebooks "$(LAB)"
endef

# JupyterLab prints its URL, which carries the token that keeps other users of this machine out. Nothing that is run
# there is a file of this repository. In its terminals and in notebooks `muses-lab` is a command.
lab: install
	$(prepare)
	@echo "── JupyterLab: its address is below, Ctrl-C ends it"
	@PATH="$(abspath $(BIN)):$$PATH" exec $(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) \
	  --ServerApp.root_dir="$(LAB)" --LabApp.default_url="/lab/tree/$(NOTEBOOK)"

# A notebook as an app: Voilà in a Jupyter server, which has the map's service beside it. Its address carries a token, too.
app: install
	$(prepare)
	@echo "── The app: its address is below, Ctrl-C ends it"
	@PATH="$(abspath $(BIN)):$$PATH" exec $(BIN)/jupyter server $(if $(filter 0,$(shell id -u)),--allow-root) \
	  --ServerApp.root_dir="$(LAB)" --ServerApp.default_url="/voila/render/$(APP)"

# JupyterHub with a Dask cluster for each user, on loopback; jupyterhub_config.py lists the settings. Ctrl-C ends it.
hub: install $(PROXY)
	@exec $(BIN)/python -m muses_lab.deployment.run

# JupyterHub's proxy is a Node program; package-lock.json decides its version.
$(PROXY): package-lock.json
	$(call need,command -v npm && node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)',nodejs npm)
	npm ci --omit=dev --no-audit --no-fund --loglevel=error
	@touch $@

# The same, and what checks the widgets' JavaScript: eslint, TypeScript, a DOM for its tests.
$(JS_TOOLS): package-lock.json
	$(call need,command -v npm && node -e 'process.exit((v => 100 * v[0] + +v[1])(process.versions.node.split(".")) < 2019 ? 1 : 0)',nodejs npm)
	npm ci --no-audit --no-fund --loglevel=error
	@touch $@ $(PROXY)

# Everything: slow tests too, and those in a real browser, which one worker runs while the others run the rest.
test: install browser $(JS_TOOLS)
	$(BIN)/pytest -n $(JOBS) $(ARGS)

# The long hunts, and every property on many more random examples.
test-thorough: install browser $(PROXY)
	$(BIN)/pytest -n $(JOBS) --hypothesis-profile thorough -o timeout=3600 -m "thorough or property" $(ARGS)

browser:
	$(call need,command -v chromium || command -v chromium-browser || command -v google-chrome,chromium)

# This engine against the limit and against other systems: benchmarks/README.md. make bench ARGS="--only W1,W2"
bench: install
	$(BIN)/python -m benchmarks.run $(ARGS)

# The site, in build/site: notebooks are run on a small sample, a broken link is an error. It needs no connection.
docs: install
	@$(BIN)/sphinx-build -W --keep-going -q -b html -c docs -d build/doctrees $(ARGS) . build/site
	@echo "build/site/index.html"

lint: install $(JS_TOOLS)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	node_modules/.bin/eslint .
	node_modules/.bin/tsc --project .

format: install
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

lock: install
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes -o requirements.lock

clean:
	rm -rf $(VENV)
