"""The kinds of volumes that the crash tests make, and the states that they take them through."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from tests.crash.contents import read_canary, write_canary
from tests.crash.scene import Model
from tests.harness import Daemon

# Options of Create; images as small as their filesystems allow.
KINDS: Mapping[str, Mapping[str, str]] = {
    "directory": {"backend": "directory"},
    "ext4": {"backend": "loopback", "fs": "ext4", "size": "16M"},
    "ext4-reserved": {"backend": "loopback", "fs": "ext4", "size": "16M", "sparse": "false"},
    "xfs": {"backend": "loopback", "fs": "xfs", "size": "300M"},
    "btrfs": {"backend": "loopback", "fs": "btrfs", "size": "128M"},
}
CONTAINER = "c" * 64
CONTENT = b"acknowledged\n"


class Stage(StrEnum):
    """Where one volume is in its life."""

    ABSENT = "absent"
    READY = "ready"
    MOUNTED = "mounted"
    KEPT = "kept"  # forgotten by `delete --reference`


@dataclass(frozen=True)
class Operation:
    """A verb that takes a volume from one stage to another; a repeat must be harmless."""

    name: str
    before: Stage
    after: Stage
    act: Callable[[Daemon, str, Mapping[str, str]], object]


def _forget(daemon: Daemon, name: str, options: Mapping[str, str]) -> None:
    # Unlike Docker's calls this one tells a person that there is no such volume.
    if name in daemon.listed():
        daemon.forget(name)


OPERATIONS = (
    Operation("create", Stage.ABSENT, Stage.READY, lambda d, n, o: d.create(n, **o)),
    Operation("mount", Stage.READY, Stage.MOUNTED, lambda d, n, o: d.mount(n, CONTAINER)),
    Operation("unmount", Stage.MOUNTED, Stage.READY, lambda d, n, o: d.unmount(n, CONTAINER)),
    Operation("remove", Stage.READY, Stage.ABSENT, lambda d, n, o: d.remove(n)),
    Operation("forget", Stage.READY, Stage.KEPT, _forget),
    Operation("adopt", Stage.KEPT, Stage.READY, lambda d, n, o: d.adopt(n)),
)


def bring(daemon: Daemon, name: str, options: Mapping[str, str], stage: Stage) -> Model:
    """Take a volume that is absent to a stage, with data in it; return what was acknowledged."""
    if stage is Stage.ABSENT:
        return Model()
    daemon.create(name, **options)
    write_canary(daemon.mount(name, CONTAINER), CONTENT)
    if stage is Stage.MOUNTED:
        return Model({name: CONTENT}, {name})
    daemon.unmount(name, CONTAINER)
    if stage is Stage.READY:
        return Model({name: CONTENT})
    daemon.forget(name)
    return Model()


def take_away(daemon: Daemon, name: str, stage: Stage) -> None:
    """Make a volume absent, however often it was mounted; what was kept must still be whole."""
    if stage is Stage.KEPT:
        daemon.adopt(name)
        assert read_canary(daemon.mount(name, CONTAINER)) == CONTENT
    while daemon.listed().get(name):
        daemon.unmount(name, CONTAINER)
    daemon.remove(name)
