"""One private engine and one daemon for all tests, and the certainty that nothing is left behind.

A test may crash either; they are there again for the next one. After each test every container and
volume is removed, and then no mount, loop device, reference or file of the daemon's may be left.
"""

import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.engine import Engine
from tests.e2e.namespace import own_mounts
from tests.e2e.waiting import until

# Options of `docker volume create` by which a volume of each backend is had.
BACKENDS = {
    "directory": {"backend": "directory"},
    "loopback": {"backend": "loopback", "size": "16M"},
}


@pytest.fixture(scope="package")
def base() -> Iterator[Path]:
    """A folder with a short name, for sockets, and not in memory, for layers and images."""
    with own_mounts():
        folder = Path(tempfile.mkdtemp(prefix="convoy-e2e-", dir="/var/tmp"))
        yield folder
        shutil.rmtree(folder)


@pytest.fixture(scope="package")
def the_engine(base: Path) -> Iterator[Engine]:
    found = Engine(base / "engine")
    try:
        found.start()
        yield found
    finally:
        found.close()


@pytest.fixture(scope="package")
def the_daemon(base: Path) -> Iterator[Daemon]:
    found = Daemon(base / "daemon")
    try:
        found.start()
        yield found
    finally:
        found.close()


@pytest.fixture
def daemon(the_daemon: Daemon) -> Iterator[Daemon]:
    """A running daemon without volumes; it may be crashed."""
    known = len(the_daemon.failures())
    yield the_daemon
    the_daemon.ensure_running()
    the_daemon.clear()
    until(lambda: not the_daemon.leftovers(), f"nothing left: {the_daemon.leftovers()}")
    assert the_daemon.failures()[known:] == []


@pytest.fixture
def engine(the_engine: Engine, daemon: Daemon) -> Iterator[Engine]:
    """A running engine without containers and volumes; it may be crashed."""
    yield the_engine
    daemon.ensure_running()
    the_engine.ensure_running()
    the_engine.clear(daemon.name)


@pytest.fixture
def make_daemon(base: Path) -> Iterator[Callable[..., Daemon]]:
    """Makes further daemons, not yet started, that end with the test; takes Daemon's settings."""
    with ExitStack() as stack:

        def make(name: str = "", **settings: object) -> Daemon:
            found = Daemon(base / f"d{secrets.token_hex(3)}", name, **settings)
            stack.callback(found.close)
            return found

        yield make


@pytest.fixture
def spare(engine: Engine, make_daemon: Callable[..., Daemon]) -> Iterator[Daemon]:
    """A second daemon, not started. At the end the engine, which has loaded its driver, forgets it.

    Otherwise each later `docker volume ls` would wait 15 s for a driver that is gone.
    """
    found = make_daemon()
    yield found
    found.ensure_running()
    engine.clear(found.name)
    engine.restart()


@pytest.fixture
def name() -> str:
    """A name that no volume had before."""
    return f"v-{secrets.token_hex(4)}"


@pytest.fixture(params=BACKENDS)
def options(request: pytest.FixtureRequest) -> dict[str, str]:
    """The options that choose a backend; a test that uses them runs for each."""
    return BACKENDS[request.param]


@pytest.fixture
def volume(engine: Engine, daemon: Daemon, name: str, options: dict[str, str]) -> str:
    """The name of a volume that was created through the engine; the test runs for each backend."""
    engine.create_volume(name, daemon.name, options)
    return name
