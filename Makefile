# `make demo` and `make test` work on a fresh clone: they build the environment they need.
# Pip's own variables (PIP_INDEX_URL, PIP_FIND_LINKS, ...) are honoured, such as for a build of torch without CUDA.

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?= -n auto --dist worksteal

PY := $(VENV)/bin/python
STAMP := $(VENV)/.nlptk-installed

# pip before 25.3 reads the first for isolated builds, later ones the second
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# caches beside the project, so that nothing depends on a writable home folder
export NLPTK_CACHE ?= $(CURDIR)/.cache/nlptk
export HF_HOME ?= $(CURDIR)/.cache/huggingface

.PHONY: help setup demo test lint clean

help:
	@echo 'make demo    fine-tune a pretrained model on the sample data and write a report (minutes)'
	@echo 'make test    run the tests; PYTEST_ARGS="-n auto -m \"not slow\"" for the fast ones'
	@echo 'make lint    ruff check, ruff format --check, mypy --strict'
	@echo 'make setup   only build the environment: VENV=$(VENV) with PYTHON=$(PYTHON)'
	@echo 'make clean   remove what was built, except VENV and runs/'

setup: $(STAMP)

demo: $(STAMP)
	$(PY) examples/demo.py

test: $(STAMP)
	$(PY) -m pytest $(PYTEST_ARGS)

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

clean:
	rm -rf build dist *.egg-info .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find nlptk tasks tests examples benchmarks -name __pycache__ -prune -exec rm -rf {} +

# the stamp says for which folder the editable install was made; a moved or copied one is installed again
ifneq ($(shell cat '$(STAMP)' 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

$(STAMP): pyproject.toml constraints.txt
	@command -v '$(PYTHON)' >/dev/null || test -x '$(PY)' || { \
	  echo '$(PYTHON): not found; nlptk needs Python 3.11 or later (make PYTHON=/path/to/python3.11)' >&2; exit 1; }
	@python='$(PY)'; test -x "$$python" || python='$(PYTHON)'; \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$$python is $$("$$python" -V 2>&1); nlptk needs Python 3.11 or later (make PYTHON=/path/to/python3.11)" >&2; \
	  exit 1; }
	@test -x '$(PY)' || { echo 'making the environment $(VENV)'; '$(PYTHON)' -m venv '$(VENV)'; }
	@'$(PY)' -m pip --version >/dev/null 2>&1 || '$(PY)' -m ensurepip >/dev/null
	@echo 'installing nlptk and what it needs into $(VENV) (minutes, the first time)'
	@'$(PY)' -m pip install --quiet --editable '.[demo,dev,tune]'
	@echo '$(CURDIR)' > '$@'
