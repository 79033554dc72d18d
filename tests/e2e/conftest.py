"""One private engine and one daemon for all tests, and the certainty that nothing is left behind.

A test may crash either; they are there again for the next one. After each test every container and
volume is removed, and then no mount, loop device, reference or file of the daemon's may be left.
"""

import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import pytest

from tests import holding, memory
from tests.e2e import host
from tests.e2e.daemon import Daemon
from tests.e2e.engine import Engine
from tests.e2e.managed import NAME, ROOT, Plugin, base_tar, import_base, own_host_folders
from tests.e2e.namespace import own_mounts
from tests.e2e.waiting import until

# Options of `docker volume create` by which a volume of each backend is had.
BACKENDS = {
    "directory": {"backend": "directory"},
    "loopback": {"backend": "loopback", "size": "16M"},
}

_DELETION = pytest.StashKey[subprocess.Popen[bytes]]()

# Bytes of a disk below a daemon's root; sparse, as it lies in a file.
DISK = 2 << 30

# How a snapshot is taken, by docs/snapshots.md -> the filesystem below the root, and the options,
# with which it goes that way.
WAYS = {
    "reflink": ("xfs", {"backend": "loopback", "size": "16M"}),
    "subvolume": ("btrfs", {"backend": "directory"}),
    "inside": ("ext4", {"backend": "loopback", "size": "128M", "fs": "btrfs"}),
    "files": ("xfs", {"backend": "directory"}),
    "copy": ("ext4", {"backend": "loopback", "size": "16M"}),
}


@pytest.fixture(scope="package")
def base(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder with a short name, for sockets, and with room, for layers and images."""
    place = request.config.stash.get(memory.PLACE, Path("/var/tmp"))
    with own_mounts():
        folder = Path(tempfile.mkdtemp(prefix="convoy-e2e-", dir=place))
        yield folder
        shutil.rmtree(folder)


@pytest.fixture(scope="package")
def on_disk(base: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Such a folder that process 1 has too: to the managed plugin that is the host."""
    folder = Path(tempfile.mkdtemp(prefix="convoy-e2e-", dir="/var/tmp"))
    yield folder
    # A busy disk takes longer to delete an engine's layers than a test may take.
    request.config.stash[_DELETION] = subprocess.Popen(["rm", "-rf", folder])


def pytest_sessionfinish(session: pytest.Session) -> None:
    if deletion := session.config.stash.get(_DELETION, None):
        assert deletion.wait() == 0


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
    with running(Daemon(base / "daemon", docker_host=docker_host(base))) as found:
        yield found


@pytest.fixture(scope="package")
def the_daemons(base: Path) -> Iterator[Callable[[str], Daemon]]:
    """Daemons with a root on a filesystem of a kind, each made when it is first asked for."""
    with ExitStack() as stack:

        @cache
        def on(kind: str) -> Daemon:
            folder = base / f"on-{kind}"
            stack.enter_context(host.filesystem(folder, kind, DISK))
            found = Daemon(folder / "daemon", docker_host=docker_host(base))
            return stack.enter_context(running(found))

        yield on


@pytest.fixture
def daemon(the_daemon: Daemon) -> Iterator[Daemon]:
    """A running daemon without volumes; it may be crashed."""
    with leaving_nothing(the_daemon) as found:
        yield found


@pytest.fixture
def engine(the_engine: Engine, daemon: Daemon) -> Iterator[Engine]:
    """A running engine without containers and volumes; it may be crashed."""
    yield the_engine
    daemon.ensure_running()
    the_engine.ensure_running()
    the_engine.clear(daemon.name)


@pytest.fixture
def daemon_on(
    the_daemons: Callable[[str], Daemon], engine: Engine
) -> Iterator[Callable[[str], Daemon]]:
    """As `daemon`, with a root on a filesystem of a kind: ext4, xfs or btrfs."""
    with ExitStack() as stack:

        @cache
        def on(kind: str) -> Daemon:
            found = stack.enter_context(leaving_nothing(the_daemons(kind)))

            def clear() -> None:
                found.ensure_running()
                engine.ensure_running()
                engine.clear(found.name)

            stack.callback(clear)
            return found

        yield on


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """How a snapshot is taken; a test that uses this, `owner` or `db` runs for each way."""
    return str(request.param)


@pytest.fixture
def owner(daemon_on: Callable[[str], Daemon], way: str) -> Daemon:
    """The daemon whose volume `db` is."""
    return daemon_on(WAYS[way][0])


@pytest.fixture
def db(engine: Engine, owner: Daemon, way: str, name: str) -> str:
    """A volume of which snapshots are taken this way."""
    engine.create_volume(name, owner.name, WAYS[way][1])
    return name


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


@pytest.fixture(scope="module")
def the_managed_engine(on_disk: Path) -> Iterator[Engine]:
    """An engine whose host has nothing else in /var/lib and /run.

    Each module starts it anew on the same data, so that the plugin is built once.
    """
    tar = base_tar()
    with own_host_folders(on_disk / "lib"):
        # As everywhere, the plugin sees the engine's data where the engine has it.
        found = Engine(Path("/var/lib/engine"), "unix:///run/docker.sock")
        try:
            found.start()
            import_base(found, tar)
            yield found
        finally:
            found.close()


@pytest.fixture(scope="module")
def the_plugin(the_managed_engine: Engine) -> Plugin:
    found = Plugin(the_managed_engine)
    found.ensure_enabled()
    return found


@pytest.fixture
def plugin(the_plugin: Plugin, the_managed_engine: Engine) -> Iterator[Plugin]:
    """The plugin, enabled and without volumes; it and its engine may be crashed."""
    before = the_plugin.identity()
    yield the_plugin
    the_managed_engine.ensure_running()
    the_plugin.ensure_enabled()
    if the_plugin.identity() != before:
        # The engine counts the volumes of a plugin, and goes wrong when another takes its name.
        the_managed_engine.restart()
    the_managed_engine.clear(NAME)
    the_plugin.clear_trash()
    nothing_left(the_plugin.leftovers, ROOT)


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


@contextmanager
def running(daemon: Daemon) -> Iterator[Daemon]:
    """Start a daemon, and at the end take away all that there is of it."""
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()


@contextmanager
def leaving_nothing(daemon: Daemon) -> Iterator[Daemon]:
    """See to it that a test leaves no volume, and nothing else of any, nor a fault in the log."""
    known = len(daemon.failures())
    yield daemon
    daemon.ensure_running()
    daemon.clear()
    nothing_left(daemon.leftovers, daemon.home)
    assert daemon.failures()[known:] == []


def nothing_left(leftovers: Callable[[], list[str]], folder: Path) -> None:
    """Wait for it; otherwise the error tells what is left, and who has it."""

    def told() -> str:
        return "\n".join(["nothing is left", *leftovers(), *holding.told(folder)])

    until(lambda: not leftovers(), told)


def docker_host(base: Path) -> str:
    """Where the engine of these tests listens."""
    return f"unix://{base}/engine/docker.sock"
