# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.

VENV ?= .venv
PYTHON ?= python3
PY := $(VENV)/bin/python

# uv installs in seconds where pip takes minutes; where it cannot be had, plain pip serves.
# Wheels that pip is told to look for are shown to uv too.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# An environment that is there already may have neither of its own: `uv venv` makes such ones.
pip = $(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip --upgrade >/dev/null \
	|| { echo "$(VENV) has no pip. Remove it, or on Debian: apt install python3-venv"; exit 1; }
install = ( PATH="$(VENV)/bin:$$PATH" uv pip install --quiet --python $(PY) \
		-c constraints.txt -e '.$(1)' 2>/dev/null \
	|| { { $(pip); } && $(PY) -m pip install --quiet -c constraints.txt -e '.$(1)'; } )

.PHONY: demo test lint bench clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   set up .venv and run both stages and two baselines on handwritten digits"
	@echo "make test   set up .venv and run every test"
	@echo "make lint   ruff and mypy"
	@echo "make bench  the benchmarks, a minute's version each"

$(PY):
	@$(PYTHON) -m venv $(VENV) || { echo "On Debian: apt install python3-venv"; rm -rf $(VENV); exit 1; }
	@$(PY) -m pip install --quiet uv 2>/dev/null || true

# A stamp for each set of extras: a newer pyproject.toml or constraints.txt installs again.
$(VENV)/.run: pyproject.toml constraints.txt | $(PY)
	@echo "Installing lacvit into $(VENV) ..."
	@$(call install,)
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(PY)
	@echo "Installing lacvit and what its tests need into $(VENV) ..."
	@$(call install,[test])
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(PY)
	@echo "Installing lacvit and what its checks need into $(VENV) ..."
	@$(call install,[dev])
	@touch $@

demo: $(VENV)/.run
	$(VENV)/bin/lacvit demo

test: $(VENV)/.test
	$(PY) -m pytest

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(VENV)/.test
	$(PY) benchmarks/data.py --quick
	$(PY) benchmarks/step.py --quick
	$(PY) benchmarks/loss.py --quick
	$(PY) benchmarks/geometry.py --quick

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
