# Set-up, demo, checks and tests. Everything lives in .venv; nothing is installed outside it, except a Chromium for
# `make test` where there is none and the machine's package manager may be used.
#
#   PYTHON=python3.12   the Python to make .venv with (default: the first one found from 3.10 on)
#   ARGS="…"            passed on: to the server by `make demo`, to pytest by `make test`
#
# pip's own configuration decides where packages come from. For a machine without an NVIDIA GPU, PyTorch's smaller CPU
# build is taken when pip is told of it: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo

.DEFAULT_GOAL := help
.PHONY: help demo test check format browser clean
.DELETE_ON_ERROR:

VENV := .venv
PY := $(VENV)/bin/python
PIP_INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check
CODE := analysis app app.py tests training benchmarks examples
SETUP_HELP := Set-up stopped. The lines above say why; run the same command again to go on.

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/.demo ## install once, then open the page on the bundled model (ARGS="--port 8000 --model …")
	@$(PY) -m app serve --open $(ARGS)

# Two processes share the tests; then one has the machine to itself for those of the whole page, which mind the time.
test: check browser ## install, check, then run all tests, the browser's included (ARGS="-k trace")
ifneq ($(ARGS),)
	@$(PY) -m pytest $(ARGS)
else
	@$(PY) -m pytest --ignore=tests/e2e --numprocesses 2 --dist loadfile --max-worker-restart 1; failed=$$?; \
	$(PY) -m pytest tests/e2e && exit $$failed
endif

check: $(VENV)/.dev ## lint, layout, import rules and types
	@$(PY) -m ruff check --output-format concise $(wildcard $(CODE))
	@$(PY) -m ruff format --check --output-format concise $(wildcard $(CODE)) || { echo "Run 'make format'."; exit 1; }
	@$(PY) -m mypy -p analysis -p app

format: $(VENV)/.dev ## lay out the code and sort its imports
	@$(PY) -m ruff check --fix --select I $(wildcard $(CODE))
	@$(PY) -m ruff format $(wildcard $(CODE))

browser: $(VENV)/.dev ## find a Chromium for the tests, or install one
	@$(PY) tests/browser.py

clean: ## remove .venv and everything that can be made again
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis .gradio build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps: pip runs again only when a list of requirements is newer. It adds what is missing and leaves the rest.
$(VENV)/.demo: requirements.txt | $(PY)
	@echo "Installing what the page needs (once; some minutes) …"
	@$(PIP_INSTALL) -r requirements.txt || { echo "$(SETUP_HELP)" >&2; exit 1; }
	@touch $@

$(VENV)/.dev: requirements.txt training/requirements.txt requirements-dev.txt | $(PY)
	@echo "Installing what the page and its tests need (once; some minutes) …"
	@$(PIP_INSTALL) -r requirements-dev.txt || { echo "$(SETUP_HELP)" >&2; exit 1; }
	@touch $(VENV)/.demo $@

$(PY):
	@without_venv=""; \
	for candidate in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.10 python3.14 python); do \
		"$$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 15))' 2>/dev/null || continue; \
		"$$candidate" -c 'import ensurepip, venv' 2>/dev/null || { without_venv="$$candidate"; continue; }; \
		echo "Making $(VENV) with $$("$$candidate" --version) …"; \
		"$$candidate" -m venv $(VENV) && exit 0; \
		rm -rf $(VENV); echo "$$candidate could not make $(VENV); the lines above say why." >&2; exit 1; \
	done; \
	if [ -n "$$without_venv" ]; then \
		echo "$$without_venv lacks the module venv: install it (Debian, Ubuntu: apt-get install python3-venv)." >&2; \
	else \
		echo "No Python from 3.10 to 3.14 was found$(if $(PYTHON), as $(PYTHON)): install one, or name it: make PYTHON=/path/to/python3 demo" >&2; \
	fi; exit 1
