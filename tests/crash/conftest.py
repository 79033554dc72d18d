"""A daemon whose folder is clean again when the test ends, and volumes of every kind to give it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.crash_points import CrashPoints
from tests.harness import Daemon, eventually

# Nobody mounts these volumes into containers, so every reference would be taken for a leak.
FLAGS = ("--reserve=0", "--overcommit=1000", "--janitor-interval=0.1", "--reference-grace=1e9")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that is not started yet."""
    daemon = Daemon(tmp_path, *FLAGS)
    yield daemon
    daemon.clean()
    eventually(lambda: not daemon.left(), "mounts and loop devices are gone")


@pytest.fixture
def crash_points(tmp_path: Path, daemon: Daemon) -> Iterator[CrashPoints]:
    """Starts the daemon so that it can be killed at any step."""
    points = CrashPoints(tmp_path)
    yield points
    daemon.clean()
    points.close()
