# `sudo make demo` and `sudo make test` install what they need and clean up behind them.
SHELL := /bin/bash
FORCE ?=

.PHONY: demo test check plugin bench test-engines lock install uninstall clean

demo: ## see it work: volumes, containers, a size limit, the price of copy-up
	tools/setup demo
	tools/with-engine tools/demo

test: ## every check and every test
	tools/setup test
	$(MAKE) --no-print-directory check
	.venv/bin/pytest

check: ## style, types and import directions
	@[ -x .venv/bin/ruff ] || { echo "make check: first run 'sudo tools/setup test', which makes .venv" >&2; exit 1; }
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

plugin: ## the managed plugin convoy:latest in the running Docker Engine; FORCE=1 replaces it
	tools/setup plugin
	plugin/build $(if $(FORCE),--force)

bench: ## ratios of one run: plugin calls, data path, docker run, snapshots
	tools/setup test
	.venv/bin/python -m bench

test-engines: ## the tests that need a Docker Engine, against those of Debian 13 and unstable
	tools/setup test
	tools/test-engines

install: ## the daemon into /opt/convoy, as a service of systemd
	tools/setup install
	plugin/install

uninstall: ## the service and /opt/convoy; the volumes stay
	plugin/install --remove

lock: ## pin pyproject.toml's dependencies, with hashes
	tools/lock

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
