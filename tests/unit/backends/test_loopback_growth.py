"""How images grow: within which bounds, in which order, and what is told when it fails."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from convoy_py.backends.base import Place
from convoy_py.backends.loopback import Loopback, growth
from convoy_py.backends.loopback import image as images
from convoy_py.errors import ConvoyError, InvalidOption, NoSpace, OperationFailed, Unsupported
from convoy_py.linux import files, filesystems, growing, loop
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import Spec
from tests.unit.backends.conftest import SIZE, MakePlace
from tests.unit.backends.fake_devices import Devices

EXT4, XFS, BTRFS = Filesystem.EXT4, Filesystem.XFS, Filesystem.BTRFS


class Tools:
    """What grows filesystems; in `calls` what was done, each with the image's length then."""

    def __init__(self) -> None:
        self.online = True
        self.largest = 8 * SIZE
        self.freed = 0
        self.error: OSError | None = None
        self.calls: list[str] = []

    def bounds(self, fs: str, image: Path) -> tuple[int, int]:
        return SIZE + 1, self.largest

    def grown(self, how: str) -> None:
        self.calls.append(how)
        if self.error is not None:
            raise self.error

    def trim(self, mountpoint: Path) -> int:
        self.calls.append(f"trim {mountpoint.name}")
        if self.freed:
            image = next(mountpoint.parents[1].glob("root/volumes/*/image"))
            os.truncate(image, 0)
        return 10**9

    @contextmanager
    def privately(self, place: Place, *options: str) -> Iterator[Path]:
        self.calls.append(" ".join(["private", *options]))
        yield place.mountpoint.with_name("private")


@pytest.fixture
def tools(devices: Devices, monkeypatch: pytest.MonkeyPatch) -> Tools:
    tools = Tools()
    monkeypatch.setattr(growing, "bounds", tools.bounds)
    monkeypatch.setattr(
        growing, "can_grow_online", lambda _: None if tools.online else "the kernel is old"
    )
    monkeypatch.setattr(growing, "grow_online", lambda fs, at: tools.grown(f"online {at.name}"))
    monkeypatch.setattr(growing, "grow_offline", lambda *_: tools.grown("offline"))
    monkeypatch.setattr(growing, "trim", tools.trim)
    monkeypatch.setattr(loop, "set_capacity", lambda _: tools.grown("capacity"))
    monkeypatch.setattr(images, "privately", tools.privately)
    return tools


@pytest.fixture
def loopback(tmp_path: Path, tools: Tools) -> Loopback:
    return Loopback(tmp_path / "root", SIZE, EXT4)


def _spec(**spec: object) -> Spec:
    return Spec.model_validate({"backend": "loopback", "fs": "ext4", "size": SIZE, **spec})


# What is asked


@pytest.mark.parametrize(
    ("size", "found"), [(16 << 20, 16 << 20), ((16 << 20) + 4097, (16 << 20) + 4096)]
)
def test_a_size_is_one_of_whole_blocks(size: int, found: int) -> None:
    assert growth.bounded(EXT4, size) == found


@pytest.mark.parametrize("size", [(16 << 20) - 1, (15 << 40) + 1])
def test_a_size_has_bounds(size: int) -> None:
    with pytest.raises(InvalidOption, match="is outside of 16MiB to 15TiB, the sizes of ext4"):
        growth.bounded(EXT4, size)


@pytest.mark.parametrize("autogrow", [None, SIZE - 1, SIZE])
def test_it_grows_by_itself_as_far_as_the_filesystem_can(autogrow: int | None) -> None:
    growth.check_autogrow(_spec(autogrow=autogrow), SIZE)
    with pytest.raises(InvalidOption, match="can grow to 64MiB at most; begin with size="):
        growth.check_autogrow(_spec(autogrow=SIZE + 1), SIZE)


@pytest.mark.parametrize(
    ("fs", "inodes", "told"),
    [
        (EXT4, None, ""),
        (EXT4, 100, ""),
        (EXT4, 200, ""),
        (EXT4, 99, r"limited to \(by blocks of 16"),
        (XFS, 99, r"limited to \(by whole percents"),
        (EXT4, 201, "limited to$"),
    ],
)
def test_a_limit_of_inodes_has_bounds(
    monkeypatch: pytest.MonkeyPatch, fs: Filesystem, inodes: int | None, told: str
) -> None:
    """What to do about it is told of one that is too small."""
    monkeypatch.setattr(filesystems, "inode_bounds", lambda *_: (100, 200))
    if not told:
        assert growth.checked_inodes(fs, SIZE, inodes) == inodes
        return
    with pytest.raises(InvalidOption, match=rf"inodes {inodes} is outside of 100 to 200.*{told}"):
        growth.checked_inodes(fs, SIZE, inodes)


def test_btrfs_limits_no_inodes() -> None:
    growth.checked_inodes(BTRFS, SIZE, None)
    with pytest.raises(Unsupported, match="btrfs cannot limit the number of files"):
        growth.checked_inodes(BTRFS, SIZE, 100)


def test_what_is_to_be_changed_is_recorded_first(loopback: Loopback) -> None:
    """With the size of before, until it has it in full; the same size is no change."""
    spec = _spec(inodes=100)
    assert loopback.resized(spec, SIZE) == spec
    larger = loopback.resized(spec, 2 * SIZE)
    assert (larger.size, larger.grows_from) == (2 * SIZE, SIZE)
    assert larger.inodes == spec.inodes_at(2 * SIZE)
    assert loopback.resized(larger, 4 * SIZE).grows_from == SIZE
    with pytest.raises(Unsupported, match="64MiB cannot shrink; clone it into a smaller one"):
        loopback.resized(spec, SIZE - 4096)


@pytest.mark.parametrize(
    ("mounted", "options", "online", "told"),
    [
        (False, ("ro",), False, ""),
        (True, None, True, ""),
        (True, ("noexec",), True, ""),
        (True, ("ro",), True, "it is mounted read-only"),
        (True, None, False, "the kernel is old"),
    ],
)
def test_why_it_must_wait_is_told(
    loopback: Loopback,
    image: MakePlace,
    devices: Devices,
    tools: Tools,
    *,
    mounted: bool,
    options: tuple[str, ...] | None,
    online: bool,
    told: str,
) -> None:
    volume = image(mount_options=options)
    if mounted:
        devices.show(volume)
    tools.online = online
    assert loopback.delay(volume) == told


# Growing


@pytest.mark.parametrize(
    ("mounted", "online", "calls", "done"),
    [
        (False, True, ["private", "online private"], True),
        (False, False, ["offline"], True),
        (True, True, ["capacity", "online db"], True),
        (True, False, [], False),
    ],
)
def test_the_image_grows_before_the_filesystem(
    loopback: Loopback,
    image: MakePlace,
    devices: Devices,
    tools: Tools,
    *,
    mounted: bool,
    online: bool,
    calls: list[str],
    done: bool,
) -> None:
    """Its device is told in between."""
    volume = _growing(image)
    if mounted:
        devices.show(volume)
    tools.online = online
    assert loopback.grow(volume) is done
    assert tools.calls == calls
    assert images.path(volume).stat().st_size == 2 * SIZE


def _growing(image: MakePlace, **spec: object) -> Place:
    volume = image(**{"size": 2 * SIZE, "grows_from": SIZE, **spec})
    os.truncate(images.path(volume), SIZE)
    return volume


@pytest.mark.parametrize("size", [SIZE, 8 * SIZE + 4096])
def test_what_the_filesystem_cannot_become_changes_nothing(
    loopback: Loopback, image: MakePlace, size: int
) -> None:
    volume = _growing(image, size=size)
    with pytest.raises(Unsupported, match=r"its ext4 can grow to .* to 512MiB, not to"):
        loopback.grow(volume)
    assert images.path(volume).stat().st_size == SIZE


def test_the_bounds_belong_to_growth(loopback: Loopback, image: MakePlace) -> None:
    volume = image()
    assert growth.largest(volume) == 8 * SIZE
    sizes = (SIZE, SIZE + 1, 8 * SIZE, 8 * SIZE + 1)
    assert [growth.can_become(volume, size) for size in sizes] == [False, True, True, False]


def test_who_has_it_out_of_sight_is_waited_for(
    loopback: Loopback, image: MakePlace, devices: Devices, tools: Tools
) -> None:
    """A filesystem that is live is not grown from outside, and not mounted before it is."""
    volume = _growing(image)
    devices.add(volume)
    tools.online = False
    assert not loopback.grow(volume)
    with pytest.raises(OperationFailed, match="live on a device that something out of sight"):
        growth.complete(volume)
    with pytest.raises(OperationFailed, match="out of sight"), growth.whole(volume):
        pytest.fail("it is mounted")
    assert tools.calls == []


@pytest.mark.parametrize(("grows_from", "calls"), [(SIZE, ["offline"]), (None, [])])
def test_what_is_opened_is_whole(
    loopback: Loopback, image: MakePlace, tools: Tools, grows_from: int | None, calls: list[str]
) -> None:
    tools.online = False
    with growth.whole(_growing(image) if grows_from else image(), "ro") as at:
        assert at.name == "private"
    assert tools.calls == [*calls, "private ro"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), r"\(No space left on device\)"),
        (OSError("odd"), r"\(odd\)"),
    ],
)
@pytest.mark.parametrize("mounted", [True, False])
def test_once_it_is_longer_a_failure_is_one_of_growing(
    loopback: Loopback,
    image: MakePlace,
    devices: Devices,
    tools: Tools,
    *,
    mounted: bool,
    error: OSError,
    told: str,
) -> None:
    """Never one of room, for the size of before does not hold any more."""
    volume = _growing(image)
    if mounted:
        devices.show(volume)
    tools.error = error
    with pytest.raises(OperationFailed, match=f"ext4 could not grow {told}; it is tried again"):
        loopback.grow(volume)


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (OSError(errno.ENOSPC, "No space left"), NoSpace, "cannot grow to 128MiB: No space left"),
        (OSError(errno.EIO, "bad"), OperationFailed, "cannot grow to 128MiB: bad"),
        (files.Unsettled(errno.EIO, "bad"), OperationFailed, r"could not grow \(bad\)"),
    ],
)
def test_what_was_not_made_longer_is_as_it_was(
    loopback: Loopback,
    image: MakePlace,
    monkeypatch: pytest.MonkeyPatch,
    *,
    error: OSError,
    kind: type[ConvoyError],
    told: str,
) -> None:
    """Unless nobody knows how long it is."""

    def fail(*_: object, reserved: bool) -> None:
        raise error

    monkeypatch.setattr("convoy_py.backends.loopback.file.extend", fail)
    with pytest.raises(kind, match=told):
        loopback.grow(_growing(image))


# Giving back


@pytest.mark.parametrize("mounted", [True, False])
def test_what_is_free_inside_goes_back_to_the_host(
    loopback: Loopback, image: MakePlace, devices: Devices, tools: Tools, *, mounted: bool
) -> None:
    """What the host gets is told, not what the filesystem says to have given."""
    volume = image()
    images.path(volume).write_bytes(b"x" * 8192)
    if mounted:
        devices.show(volume)
    assert loopback.trim(volume) == 0
    tools.freed = 8192
    assert loopback.trim(volume) == 8192
    at = ["trim db"] if mounted else ["private", "trim private"]
    assert tools.calls == at * 2


def test_what_is_reserved_is_not_given_back(loopback: Loopback, image: MakePlace) -> None:
    with pytest.raises(Unsupported, match="keeps the blocks that it reserved"):
        loopback.trim(image(sparse=False))
