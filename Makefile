# `make demo`, `make test`, `make check`: everything happens in .venv, with the versions of constraints.txt.
PYTHON ?= python3

.PHONY: demo test check install programs clean

demo: .venv/installed
	@.venv/bin/lit-detseg demo

test: .venv/installed programs
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2

check: .venv/installed
	@.venv/bin/ruff format --check . && .venv/bin/ruff check . && .venv/bin/mypy && .venv/bin/lint-imports

install: .venv/installed

# A web server and a browser, for the tests of remote shards and of the data set page.
programs:
	@for program in nginx chromium chromedriver; do PATH="$$PATH:/usr/sbin" command -v $$program >/dev/null || \
	  { echo "The tests need $$program: apt-get install nginx-light chromium chromium-driver"; exit 1; }; done

# Made under another name first, so that an interrupted installation does not look finished.
.venv/installed: pyproject.toml constraints.txt
	@echo "Installing into .venv (about two minutes the first time) ..."
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

clean:
	rm -rf .venv build dist *.egg-info
