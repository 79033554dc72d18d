"""Storage that hangs or is dead: what has nothing to do with it is served as if nothing were."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import fuse
from tests.crash.contents import read_canary
from tests.crash.verbs import clone, snapshot
from tests.crash.volumes import CONTAINER, CONTENT, KINDS, Stage, bring
from tests.fuse import Fuse
from tests.harness import Daemon, eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]


@pytest.fixture
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuse]:
    """Below no folder of the daemon's."""
    storage = Fuse(tmp_path_factory.mktemp("elsewhere"))
    yield storage
    storage.close()


@pytest.fixture
def foreign(storage: Fuse) -> Iterator[Path]:
    """A loop device whose file lies there."""
    device = fuse.attached(storage.at / "disk.img")
    yield device
    fuse.detach(device)


@pytest.mark.parametrize("how", ["hangs", "is dead"])
def test_loop_device_of_others_is_no_obstacle(
    daemon: Daemon, storage: Fuse, foreign: Path, how: str
) -> None:
    """Every verb is served, and a daemon that is started meanwhile takes over what is mounted."""
    daemon.start()
    bring(daemon, "used", KINDS["ext4"], Stage.MOUNTED)
    if how == "is dead":
        storage.kill()
        _serves(daemon)
        return
    with storage.silent():
        _serves(daemon)


def _serves(daemon: Daemon) -> None:
    daemon.unmount("used", CONTAINER)
    assert read_canary(daemon.mount("used", CONTAINER)) == CONTENT
    snapshot(daemon, "used", "a")
    clone(daemon, "used", "copy", "a")
    assert read_canary(daemon.mount("copy", CONTAINER)) == CONTENT
    daemon.unmount("copy", CONTAINER)
    daemon.remove("copy")
    daemon.kill()
    daemon.start()
    assert daemon.listed() == {"used": str(daemon.run_dir / "mounts/used/data")}
    for kind in ("directory", "ext4"):
        daemon.create(kind, **KINDS[kind])
        daemon.mount(kind, CONTAINER)
        daemon.unmount(kind, CONTAINER)
        daemon.remove(kind)
    daemon.unmount("used", CONTAINER)
    eventually(lambda: not daemon.left(), "it is unmounted")
