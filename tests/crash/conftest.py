"""A daemon whose folder is clean again when the test ends, and figures told at the end of all."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.crash_points import CrashPoints
from tests.harness import Daemon, eventually

# Nobody mounts these volumes into containers, so every reference would be taken for a leak.
FLAGS = (
    *("--reserve=0", "--overcommit=1000", "--janitor-interval=0.1", "--reference-grace=1e9"),
    "--trash-keep=0",
)
_FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that is not started yet."""
    daemon = Daemon(tmp_path, *FLAGS)
    yield daemon
    daemon.clean()
    eventually(lambda: not daemon.left(), "mounts and loop devices are gone")


@pytest.fixture(scope="session")
def crash_points(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrashPoints]:
    """Starts daemons, one at a time, that can be killed at any step."""
    points = CrashPoints(tmp_path_factory.mktemp("crash-points"))
    yield points
    points.close()


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Tells a line after the results of all tests, whether they pass or not."""
    return request.config.stash.setdefault(_FIGURES, []).append


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for line in config.stash.get(_FIGURES, []):
        terminalreporter.write_line(line)
