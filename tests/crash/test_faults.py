"""What a disk that fails or is full, and images that others touch, do to the daemon: not much."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from convoy_py.linux import filesystems, loop, mounts
from tests.crash import verbs
from tests.crash.conftest import FLAGS
from tests.crash.contents import read_canary, write_canary
from tests.crash.disks import Disk, settled
from tests.crash.invariants import check
from tests.crash.scene import Model
from tests.crash.tracing import injected, waits_in
from tests.crash.volumes import CONTAINER, CONTENT, KINDS, Stage, bring
from tests.harness import Daemon, Refused, eventually
from tests.noise import noise

pytestmark = pytest.mark.root

_MIB = 1 << 20
_MACHINE = os.uname().machine
_FALLOCATE = {"x86_64": 285, "aarch64": 47}[_MACHINE]
_COPY_FILE_RANGE = {"x86_64": 326, "aarch64": 285}[_MACHINE]


# State that cannot be written


def test_a_failed_fsync_of_state_stops_changes_until_a_restart(daemon: Daemon) -> None:
    """Whichever fsync fails, reads go on; once it was one of the state, changes are refused."""
    daemon.start()
    bring(daemon, "old", KINDS["directory"], Stage.READY)
    model, refusals = Model({"old": CONTENT}), 0
    for at in count(1):
        name = f"v{at}"
        create = partial(daemon.create, name, backend="directory")
        with injected(daemon, "fsync", f"error=EIO:when={at}"):
            if not _is_refused(create, "Input/output error"):
                break
        refusals += _changes_are_refused(daemon)
        assert "old" in daemon.listed()
        assert daemon.get("old")["Status"]["state"] == "ready"
        daemon.kill()
        daemon.start()
        # The last fsync is that of the rename: by then the volume may be there, and is whole.
        model.unsure.add(name)
        check(daemon, model)
    assert refusals >= 3, "the record, its folder and the volumes' folder are synced"
    daemon.create("new", backend="directory")


def test_a_failed_fsync_leaves_a_whole_snapshot_or_none(daemon: Daemon) -> None:
    """Whichever fsync fails while one is taken, the volume is thawed and as it was."""
    daemon.start()
    bring(daemon, "v", KINDS["ext4"], Stage.MOUNTED)
    model, refusals = Model({"v": CONTENT}, {"v"}), 0
    for at in count(1):
        take = partial(verbs.snapshot, daemon, "v", f"s{at}")
        with injected(daemon, "fsync", f"error=EIO:when={at}"):
            if not _is_refused(take, "Input/output error"):
                break
        refusals += 1
        write_canary(daemon.mount("v", CONTAINER), CONTENT)
        daemon.unmount("v", CONTAINER)
        daemon.kill()
        daemon.start()
        # The last fsync is that of the rename: by then the snapshot may be there, and is whole.
        model.unsure.add(f"v@s{at}")
        model.snapshots[f"v@s{at}"] = CONTENT
        check(daemon, model)
    assert refusals >= 3, "the image, the record, its folder and the snapshots' are synced"


def _changes_are_refused(daemon: Daemon) -> bool:
    """Whether the daemon has stopped all changes of state; if so it must say so everywhere.

    A mount changes none: containers get at their data as long as the disk gives it.
    """
    told = "restart the daemon when the disk is well"
    if not _is_refused(partial(daemon.create, "probe", backend="directory"), told):
        daemon.remove("probe")
        return False
    assert _is_refused(lambda: daemon.remove("old"), told)
    daemon.mount("old", CONTAINER)
    daemon.unmount("old", CONTAINER)
    assert told in daemon.admin("GET", "/v1/info")["General"]["Health"]
    return True


def _is_refused(call: Callable[[], object], told: str) -> bool:
    """Whether a call is refused; if it is, then in these words."""
    try:
        call()
    except Refused as error:
        if told not in str(error):
            raise
        return True
    return False


# A full host


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon with its root on a host filesystem of 200 MiB and 400 inodes."""
    daemon = Daemon(tmp_path, *FLAGS, root=Disk(tmp_path, "ext4", 200, "-N", "400").at / "root")
    yield daemon
    daemon.clean()
    daemon.let_go()


def _fill_blocks(host: Path) -> None:
    """Take every block, the last ones one by one."""
    with (host / "filler").open("wb") as file, suppress(OSError):
        os.posix_fallocate(file.fileno(), 0, 200 * _MIB)
    with (host / "rest").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
            os.fsync(file.fileno())


def _fill_inodes(host: Path) -> None:
    with suppress(OSError):
        for number in count():
            (host / f"filler{number}").touch()


@pytest.mark.parametrize("fill", [_fill_blocks, _fill_inodes], ids=["blocks", "inodes"])
def test_on_a_full_host_all_goes_on_but_create(small: Daemon, fill: Callable[[Path], None]) -> None:
    """List, Get, Mount, Unmount and Remove work; Create is refused and leaves nothing."""
    host = small.root.parent
    small.start()
    kinds = ("directory", "ext4", "ext4-reserved")
    model = Model(dict.fromkeys(kinds, CONTENT))
    for kind in kinds:
        bring(small, kind, KINDS[kind], Stage.READY)
    fill(host)
    check(small, model)
    for kind in kinds:
        with pytest.raises(Refused, match=r"No space left|cannot be (promised|reserved)"):
            small.create(f"another-{kind}", **KINDS[kind])
    check(small, model)
    for kind in kinds:
        assert read_canary(small.mount(kind, CONTAINER)) == CONTENT
    small.kill()
    small.start()
    model.held = set(kinds)
    check(small, model)
    for kind in kinds:
        small.unmount(kind, CONTAINER)
        small.remove(kind)
    check(small, Model())
    for filler in host.glob("filler*"):
        filler.unlink()
    small.create("new", backend="directory")


@pytest.mark.parametrize(
    ("kind", "fill"),
    [
        ("directory", _fill_blocks),
        ("ext4", _fill_blocks),
        ("directory", _fill_inodes),
        ("ext4", _fill_inodes),
        ("btrfs", _fill_inodes),
    ],
)
def test_on_a_full_host_a_snapshot_is_refused_and_hurts_nothing(
    small: Daemon, kind: str, fill: Callable[[Path], None]
) -> None:
    """Nothing is left of it, the volume is thawed and used as before, and later one succeeds."""
    small.start()
    bring(small, "v", KINDS[kind], Stage.MOUNTED)
    verbs.snapshot(small, "v", "before")
    fill(small.root.parent)
    model = Model({"v": CONTENT}, {"v"}, snapshots={"v@before": CONTENT})
    with pytest.raises(Refused, match="No space left"):
        verbs.snapshot(small, "v", "s")
    check(small, model)
    with pytest.raises(Refused, match=r"No space left|cannot be promised"):
        verbs.clone(small, "v", "w")
    check(small, model)
    small.kill()
    small.start()
    check(small, model)
    for filler in small.root.parent.glob("filler*"):
        filler.unlink()
    write_canary(small.mount("v", CONTAINER), b"later\n")
    small.unmount("v", CONTAINER)
    verbs.snapshot(small, "v", "s")
    check(small, Model({"v": b"later\n"}, {"v"}, snapshots={**model.snapshots, "v@s": b"later\n"}))


def test_a_copy_for_which_the_room_ends_midway_is_taken_back(small: Daemon) -> None:
    """The space goes while a frozen image is copied: writers go on, and nothing is left."""
    small.start()
    small.create("v", **{**KINDS["ext4"], "size": "100M"})
    content = noise(60 * _MIB)
    write_canary(small.mount("v", CONTAINER), content)
    filler = small.root.parent / "filler"
    with (
        injected(small, "copy_file_range", "delay_enter=300000"),
        ThreadPoolExecutor(1) as pool,
        filler.open("wb") as file,
    ):
        snapshot = pool.submit(verbs.snapshot, small, "v", "s")
        eventually(lambda: waits_in(small.pid, _COPY_FILE_RANGE), "it is being copied")
        os.posix_fallocate(file.fileno(), 0, 80 * _MIB)
        with pytest.raises(Refused, match="No space left"):
            snapshot.result()
    check(small, Model({"v": content}, {"v"}))
    filler.unlink()
    verbs.snapshot(small, "v", "s")
    check(small, Model({"v": content}, {"v"}, snapshots={"v@s": content}))


def test_a_reservation_that_fails_midway_gives_everything_back(small: Daemon) -> None:
    """If the space goes while it is being reserved, what was reserved of it is given back."""
    small.start()
    settled(small)  # the ballast is reserved too, and would be taken for the volume
    small.create("old", backend="directory")
    filler = small.root.parent / "filler"
    with (
        injected(small, "fallocate", "delay_enter=2000000"),
        ThreadPoolExecutor(1) as pool,
        filler.open("wb") as file,
    ):
        create = pool.submit(
            lambda: small.create("new", backend="loopback", size="120M", sparse="false")
        )
        eventually(lambda: waits_in(small.pid, _FALLOCATE), "it is about to reserve")
        os.posix_fallocate(file.fileno(), 0, 100 * _MIB)
        with pytest.raises(Refused, match="No space left"):
            create.result()
    filler.unlink()
    assert filesystems.space(small.root).available > 150 * _MIB
    check(small, Model({"old": b""}))


# Images that others touch


def _delete_folder(home: Path) -> None:
    shutil.rmtree(home / "data")


def _delete_image(home: Path) -> None:
    (home / "image").unlink()


def _cut_image(home: Path) -> None:
    os.truncate(home / "image", 8 * _MIB)


@pytest.mark.parametrize(
    ("kind", "damage", "told"),
    [
        ("directory", _delete_folder, "its folder .* is missing"),
        ("ext4", _delete_image, "its image .* is missing"),
        ("ext4", _cut_image, "its image .* has 8388608 bytes, recorded are 16777216"),
    ],
)
def test_lost_data_is_told_and_hurts_no_other_volume(
    daemon: Daemon, kind: str, damage: Callable[[Path], None], told: str
) -> None:
    """Get answers and says what is wrong, Mount fails with that, the other volumes go on."""
    daemon.start()
    for name in ("hurt", "well"):
        bring(daemon, name, KINDS[kind], Stage.READY)
    damage(daemon.root / "volumes/hurt")
    with pytest.raises(Refused, match=told):
        daemon.mount("hurt", CONTAINER)
    assert daemon.get("hurt")["Status"]["state"] == "broken"
    assert re.search(told, daemon.get("hurt")["Status"]["reason"])
    assert read_canary(daemon.mount("well", CONTAINER)) == CONTENT
    daemon.kill()
    daemon.start()
    assert set(daemon.listed()) == {"hurt", "well"}
    eventually(lambda: daemon.get("hurt")["Status"]["state"] == "broken", "it is seen again")
    daemon.remove("hurt")
    check(daemon, Model({"well": CONTENT}, {"well"}))


def test_an_image_that_somebody_attached_is_left_alone(daemon: Daemon) -> None:
    """Two loop devices on one image would corrupt it: Mount is refused and names the device."""
    daemon.start()
    bring(daemon, "v", KINDS["ext4"], Stage.READY)
    image = daemon.root / "volumes/v/image"
    foreign = subprocess.run(
        ["losetup", "--find", "--show", str(image)], check=True, capture_output=True, text=True
    ).stdout.strip()
    with pytest.raises(Refused, match=f"attached to {foreign}"):
        daemon.mount("v", CONTAINER)
    subprocess.run(["losetup", "--detach", foreign], check=True)
    eventually(lambda: not loop.find(image), "the device lets go")
    check(daemon, Model({"v": CONTENT}))


def test_a_mount_that_somebody_took_away_comes_back(daemon: Daemon) -> None:
    """An image that was unmounted behind the daemon's back is mounted again by the next Mount."""
    daemon.start()
    bring(daemon, "v", KINDS["ext4"], Stage.MOUNTED)
    mounts.unmount(daemon.run_dir / "mounts/v")
    assert read_canary(daemon.mount("v", CONTAINER)) == CONTENT
    check(daemon, Model({"v": CONTENT}, {"v"}))
