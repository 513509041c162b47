# `make help` lists the targets. Everything runs in .venv, which every target sets up first.

PYTHON ?= python3
VENV := .venv
.DEFAULT_GOAL := help
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# A lock is complete. Without --no-deps pip would still look for a newer package wherever one asks for another's extra.
LOCKS := requirements/dev.txt

.PHONY: screenshots setup demo test lint e2e e2e-cluster bench soak dist plugin-artifact conformance fuzz mutate lock clean format help

help: ## List the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '%-16s %s\n' "$$name" "$$text"; done

setup: $(STAMP) ## Make .venv with all that development needs, pinned by hash

$(STAMP): $(LOCKS) pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(LOCKS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m pip check
	touch $@

# What the demo needs and no more: the development lock takes three times as long to install.
DEMO := .venv-demo
$(DEMO)/.installed: requirements/runtime.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@echo "Installing what the demo needs into $(DEMO) ..."
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python -m pip install --disable-pip-version-check --no-deps --require-hashes -r requirements/runtime.txt
	touch $@

demo: $(DEMO)/.installed ## See one image denied and one admitted, without a cluster
	$(DEMO)/bin/python -m slsa_verifier_plugin demo

# Five at a time on two processors, for many tests wait; files in the order of testpaths, the longest first. Compiled modules are
# kept whatever the environment says: else each worker and each program under test compiles them again.
test: setup ## Run the unit, integration and conformance tests
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n 5 --dist loadfile --no-loadscope-reorder

lint: setup ## Run ruff, mypy, zizmor, actionlint, and clang-format where it is there
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tools.workflows
	@if command -v clang-format >/dev/null; then clang-format --dry-run --Werror launcher/src/*.[ch] launcher/tests/*.c; \
	else echo "clang-format is not there: the style of the C files was not looked at"; fi

format: setup ## Mend and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

conformance: setup ## Run the conformance cases through the installed plugin
	$(BIN)/python tests/conformance/run.py --plugin $(BIN)/slsla

# The plugin as one static file, the wheel, the source archive and the bill of materials; needs gcc and libzstd.
dist: setup ## Build the one-file plugin, the wheel, the source archive and the bill of materials
	$(BIN)/python -m tools.dist

# Real Ratify, oras, cosign and registries, built from source; the launcher and the one-file plugin. Needs Go.
e2e: setup ## Run the tests with real Ratify, oras, cosign and registries
	$(BIN)/python -m tests.e2e.packages
	$(BIN)/python -m pytest tests/e2e --ignore=tests/e2e/cluster tests/integration/test_registry_*.py tests/integration/test_credentials_*.py

# The whole admission path: kube-apiserver, Gatekeeper and Ratify on loopback, with the one-file plugin. Needs Go.
e2e-cluster: setup ## Run the admission tests with a real API server and Gatekeeper
	$(BIN)/python -m tests.e2e.packages
	$(BIN)/python -m tests.e2e.cluster

# Pushes dist/slsa as the artifact that Ratify downloads by itself: make plugin-artifact REGISTRY=registry.example/slsa:0.1.0
plugin-artifact: dist ## Push dist/slsa for Ratify to download: REGISTRY=registry.example/slsa:0.1.0
	deploy/image/push-artifact.sh $(REGISTRY)

bench: setup ## Measure speed and memory beside peers, as ratios
	$(BIN)/python -m tools.bench

# Both clients under faults for MINUTES (5) or CALLS calls, whichever comes first, CALLERS (8) at once; fails where a decision is
# wrong, missing or late.
soak: dist ## Call both clients under faults: MINUTES=5, CALLS=100000, CALLERS=8
	$(BIN)/python -m tools.soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(CALLS),--calls $(CALLS)) $(if $(CALLERS),--callers $(CALLERS))

FUZZ_SECONDS ?= 60
# atheris has wheels for some interpreters only; where it is not to be had, seeds are mutated without it.
fuzz: setup ## Fuzz all that reads bytes from outside: FUZZ_SECONDS=60
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --no-deps --require-hashes -r requirements/fuzz.txt
	$(BIN)/python tests/fuzz/run.py --seconds $(FUZZ_SECONDS)

mutate: setup ## Change what decides, one line at a time; a test must notice each
	$(BIN)/python tests/mutation/run.py

UV_LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

lock: setup ## Renew the locks in requirements/
	$(UV_LOCK) pyproject.toml --all-extras --output-file requirements/all.txt
	$(UV_LOCK) pyproject.toml --constraint requirements/all.txt --output-file requirements/runtime.txt
	$(UV_LOCK) pyproject.toml --all-extras --group dev --constraint requirements/all.txt --output-file requirements/dev.txt
	$(UV_LOCK) --group fuzz --output-file requirements/fuzz.txt
	$(UV_LOCK) --group build --constraint requirements/dev.txt --output-file requirements/build.txt

screenshots: setup ## Take the pictures of the audit's page in the docs anew; needs Chromium
	SLSA_UPDATE_IMAGES=1 $(BIN)/python -m pytest tests/e2e/test_report_page.py -k screenshots

clean: ## Remove all that these targets make
	rm -rf $(VENV) $(DEMO) dist build .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
