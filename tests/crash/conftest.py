"""A daemon whose folder is clean again when the test ends, and figures told at the end of all."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.crash_points import CrashPoints
from tests.harness import Daemon

# Nobody mounts these volumes into containers, so every reference would be taken for a leak.
FLAGS = (
    *("--reserve=0", "--overcommit=1000", "--janitor-interval=0.1", "--reference-grace=1e9"),
    "--trash-keep=0",
)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that is not started yet."""
    daemon = Daemon(tmp_path, *FLAGS)
    yield daemon
    daemon.clean()
    daemon.let_go()


@pytest.fixture(scope="session")
def crash_points(tmp_path_factory: pytest.TempPathFactory) -> CrashPoints:
    """Starts daemons, one at a time, that can be killed at any step."""
    return CrashPoints(tmp_path_factory.mktemp("crash-points"))


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Tells a line after the results of all tests, whether they pass or not."""
    told = request.node.user_properties  # which reach the summary from a worker, too

    def tell(line: str) -> None:
        told.append(("told", line))

    return tell
