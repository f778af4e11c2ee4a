# `make demo`, `make test`, `make check`: everything happens in .venv, with the versions of constraints.txt.
PYTHON ?= python3

.PHONY: demo test check install clean

demo: .venv/installed
	@.venv/bin/lit-detseg demo

test: .venv/installed
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2

check: .venv/installed
	@.venv/bin/ruff format --check . && .venv/bin/ruff check . && .venv/bin/mypy && .venv/bin/lint-imports

install: .venv/installed

# Made under another name first, so that an interrupted installation does not look finished.
.venv/installed: pyproject.toml constraints.txt
	@echo "Installing into .venv (about two minutes the first time) ..."
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

clean:
	rm -rf .venv build dist *.egg-info
