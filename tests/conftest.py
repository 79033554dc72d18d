"""The same run of the tests however it was started, each process of it with mounts of its own."""

import gc
import os
import signal
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from tests import memory

_CHOSEN = "chosen"

# How long an example takes says more of what else the machine does.
# Chances are for `make test` and the campaign: the gate says the same twice.
hypothesis.settings.register_profile(
    "steady", deadline=None, derandomize=bool(os.environ.get("CI"))
)
hypothesis.settings.load_profile("steady")
_RUN = pytest.StashKey[str]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    # A shell starts what runs in the background with these ignored, and nohup the last one; that
    # would be inherited by the commands and daemons which the tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if memory.may_mount() and not _has_workers(config):
        memory.unshare()
        if not _is_chosen(config) and not memory.why_not():
            config.stash[memory.PLACE] = memory.mounted()
            config.option.basetemp = config.stash[memory.PLACE] / "t"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays until the end: nobody looks through it for garbage."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker whether --basetemp was given: each of them is given one in any case."""
    node.workerinput[_CHOSEN] = _is_chosen(node.config)
    node.config.stash[_RUN] = node.workerinput["testrunuid"]


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what a worker that was killed, or interrupted, has left: it would hold the memory."""
    if run := config.stash.get(_RUN, ""):
        mark = f"PYTEST_XDIST_TESTRUNUID={run}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended, or is another user's
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    os.kill(int(process.name), signal.SIGKILL)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Workers take one test after the other, but stay with those that share an engine."""
    scheduling = LoadScopeScheduling(config, log)
    # Not by marks: xdist 3.8 has no way to tell groups from a worker where pytest is 9.2.
    scheduling._split_scope = _group
    return scheduling


def _group(nodeid: str) -> str:
    """Tests of which this is the same go to one worker; the largest groups go first."""
    path = nodeid.partition("::")[0]
    if path.startswith("tests/conformance/test_store_"):
        return "stores"  # real servers, started once
    if not path.startswith("tests/e2e/"):
        return nodeid
    return "managed" if "managed" in path else path  # the plugin is built once


def pytest_report_header(config: pytest.Config) -> str:
    lacking = memory.why_not()
    if config.option.basetemp is not None or not lacking:
        return f"temporary folders: {config.option.basetemp or 'in memory'}"
    return f"temporary folders: on disk, for {lacking}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The lines that the crash tests told, wherever they ran."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "teardown":
                for name, line in report.user_properties:
                    if name == "told":
                        terminalreporter.write_line(str(line))


def _has_workers(config: pytest.Config) -> bool:
    return not hasattr(config, "workerinput") and bool(config.getoption("numprocesses", None))


def _is_chosen(config: pytest.Config) -> bool:
    """Whether somebody said where temporary folders are to lie."""
    given = {_CHOSEN: config.option.basetemp is not None}
    return bool(getattr(config, "workerinput", given)[_CHOSEN])
