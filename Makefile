# SPDX-License-Identifier: Apache-2.0
# The verbs that people and CI use. The work itself is in Python: see dev/ and CONTRIBUTING.md.

NAME   ?= demo
HOSTS  ?= 2
# Debian's own Python: only it has rados, rbd and libvirt.
PYTHON ?= /usr/bin/python3.11
BIN    := .venv/bin
DEV    := $(BIN)/python -m nopal_dev
# The same without .venv, as long as Debian's own python3-yaml and python3-cryptography are there.
BARE    = PYTHONPATH=dev/src:runtime/src $(PYTHON)
STAMP  := .venv/.installed
# What no pure test needs (libvirt's headers, Ceph) is left out of this one.
PURE   := .venv/.installed-pure

.DEFAULT_GOAL := help
.PHONY: help demo env down test unit slow contract e2e lint bench bench-scheduler crds clean

help: ## what there is
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | sed 's,$$$$,$$,' | expand -t 24

demo: $(STAMP) ## a cluster on this machine and a Debian guest in it
	@$(DEV) demo --name $(NAME) --hosts $(HOSTS)

env: ## print what a shell needs: eval "$$(make -s env)"
	@$(DEV) env --name $(NAME)

down: ## remove the demo without a trace
	@if [ -x $(BIN)/python ]; then $(DEV) down --name $(NAME); \
	elif $(BARE) -c 'import nopal_dev.cli' 2>/dev/null; then $(BARE) -m nopal_dev down --name $(NAME); \
	else echo "make down needs .venv (make unit makes it), or python3-yaml and" \
	  "python3-cryptography for $(PYTHON)" >&2; exit 1; fi

test: lint unit slow contract e2e ## everything, on a cluster of its own

unit: $(PURE) ## pure tests: no root, no Ceph, no libvirt
	@$(BIN)/python -m pytest -n auto -m "not slow" tests/unit

slow: $(PURE) ## pure tests that search for long: crash matrices, promises of the scheduler
	@$(BIN)/python -m pytest -n auto -m slow tests/unit

# The programs first: they take minutes to build on a machine without them, more than a test may.
contract: $(STAMP) ## the fakes and the real parts, by the same tests
	@$(DEV) binaries
	@$(BIN)/python -m pytest tests/contract

e2e: $(STAMP) ## real components, from kubectl apply to the bytes in Ceph
	@$(DEV) binaries
	@$(BIN)/python -m pytest tests/e2e

lint: $(PURE) ## ruff, mypy, import rules, generated files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m nopal_api crds --check
	@$(BIN)/python -m nopal_api reference --check
	@$(BIN)/python -m nopal_scheduler schema --check docs/reference/cluster.schema.json

bench: $(STAMP) ## figures, each beside the limit of this machine
	@$(BIN)/python -m bench

bench-scheduler: $(PURE) ## the scheduler beside Ganeti's htools and its bounds
	@$(BIN)/python -m bench.scheduler

crds: $(PURE) ## write crds/ and docs/reference/ from the models
	@$(BIN)/python -m nopal_api crds
	@$(BIN)/python -m nopal_api reference
	@$(BIN)/python -m nopal_scheduler schema > .venv/cluster.schema.json
	@mv .venv/cluster.schema.json docs/reference/

clean: ## remove the virtual environment
	@rm -rf .venv

# On a bare machine root installs Python; our own list (dev/) does the rest, where it is needed.
.venv/bin/pip:
	@echo "making .venv"
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  [ "$$(id -u)" = 0 ] || { echo "please install $(PYTHON) and python3-venv"; exit 1; }; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qy \
	    --no-install-recommends python3 python3-venv; }
	@$(PYTHON) -m venv --system-site-packages .venv
	@$(BIN)/python -m pip install -q --upgrade pip

$(PURE): pyproject.toml | .venv/bin/pip
	@$(BIN)/python -m pip install -q -e '.[operator,node-pure,dev]'
	@touch $@

$(STAMP): pyproject.toml | .venv/bin/pip
	@PYTHONPATH=dev/src $(PYTHON) -m nopal_dev.packages
	@$(BIN)/python -m pip install -q -e '.[operator,node,dev]'
	@touch $@ $(PURE)
