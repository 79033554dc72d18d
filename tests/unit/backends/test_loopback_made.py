"""Volumes in images: what may be asked of them, and how they are made and adopted."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from convoy_py.backends.base import Place
from convoy_py.backends.loopback import Loopback
from convoy_py.backends.loopback import image as images
from convoy_py.errors import (
    ConvoyError,
    Corrupt,
    DataDiffers,
    InvalidOption,
    NotFound,
    Unsupported,
)
from convoy_py.linux import btrfs, files, filesystems, growing, reflink
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import Options, Spec
from tests.unit.backends.conftest import SIZE, MakePlace
from tests.unit.backends.fake_devices import Devices
from tests.unsynced import Unsynced

EXT4, XFS, BTRFS = Filesystem.EXT4, Filesystem.XFS, Filesystem.BTRFS


class Host:
    """Where images are formatted and mounted, as far as one can see; in `calls` what was done."""

    def __init__(self, top: Path) -> None:
        self.top = top  # of each filesystem
        self.online = True
        self.largest = 8 * SIZE
        self.damaged = False
        self.calls: list[str] = []

    @contextmanager
    def privately(self, place: Place, *options: str) -> Iterator[Path]:
        self.calls.append(" ".join(["private", *options]))
        yield self.top
        if not options:  # what was written comes to the image
            self.written(images.path(place), b"content")

    def make(
        self, fs: str, image: Path, size: int, *, uuid: str, inodes: int | None = None
    ) -> None:
        self.calls.append(f"mkfs {fs}")
        self.written(image, b"superblock")

    def written(self, image: Path, content: bytes) -> None:
        with image.open("r+b") as file:
            os.pwrite(file.fileno(), content, 0)

    def bounds(self, fs: str, image: Path) -> tuple[int, int]:
        assert image.read_bytes()[:10] == b"superblock"
        return 0, self.largest

    def check(self, fs: str, image: Path) -> None:
        self.calls.append("check")
        if self.damaged:
            raise filesystems.DamagedFilesystem(image, "a bad block")


@pytest.fixture
def host(devices: Devices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path / "top")
    host.top.mkdir()

    def chown(folder: int, uid: int, gid: int) -> None:
        host.calls.append(f"owner {uid} {gid}")

    def created(path: Path) -> None:
        host.calls.append("subvolume")
        path.mkdir()

    monkeypatch.setattr(images, "privately", host.privately)
    monkeypatch.setattr(filesystems, "make", host.make)
    monkeypatch.setattr(filesystems, "check", host.check)
    monkeypatch.setattr(filesystems, "identify", lambda path: EXT4 if path.stat().st_size else None)
    monkeypatch.setattr(
        growing, "can_grow_online", lambda _: None if host.online else "the kernel is old"
    )
    monkeypatch.setattr(growing, "bounds", host.bounds)
    monkeypatch.setattr(growing, "reach", lambda *_: 16 * SIZE)
    monkeypatch.setattr(growing, "beginning", lambda *_: SIZE)
    monkeypatch.setattr(files, "set_nocow", lambda _: host.calls.append("in place"))
    monkeypatch.setattr(reflink, "keep_in_pieces", lambda _: host.calls.append("in pieces"))
    monkeypatch.setattr(btrfs, "create_subvolume", created)
    monkeypatch.setattr(btrfs, "is_subvolume", lambda path: (path / "subvolume").exists())
    monkeypatch.setattr(btrfs, "delete_subvolume", Path.rmdir)
    monkeypatch.setattr(os, "fchown", chown)
    return host


@pytest.fixture
def loopback(tmp_path: Path, host: Host) -> Loopback:
    (tmp_path / "root").mkdir(exist_ok=True)
    return Loopback(tmp_path / "root", SIZE, EXT4)


# What is asked


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        (Options(mount_options=("suid",)), Unsupported, "suid is not allowed"),
        (Options(size=1), InvalidOption, "is outside of 16MiB"),
        (Options(autogrow=SIZE - 4096), InvalidOption, "is less than the size, 64MiB"),
        (Options(autogrow=17 * SIZE), InvalidOption, "can grow to 1GiB at most"),
        (Options(autogrow=16 << 40), InvalidOption, "is outside of"),
        (Options(inodes=1), InvalidOption, "inodes 1 is outside of"),
    ],
)
def test_what_cannot_be_is_refused(
    loopback: Loopback, options: Options, error: type[ConvoyError], told: str
) -> None:
    with pytest.raises(error, match=told):
        loopback.resolve(options)


def test_what_is_not_asked_is_as_it_is_configured(loopback: Loopback) -> None:
    """But a clone keeps the owner and the mode that it finds."""
    spec = loopback.resolve(Options())
    assert (spec.fs, spec.size, spec.sparse) == (EXT4, SIZE, True)
    assert (spec.uid, spec.gid, spec.mode) == (0, 0, 0o755)
    assert (loopback.promised(spec), loopback.promised(Spec(backend="loopback"))) == (SIZE, 0)
    spec = loopback.resolve(Options(source="db", gid=5, sparse=False, fs=XFS, size=300 << 20))
    assert (spec.uid, spec.gid, spec.mode, spec.sparse) == (None, 5, None, False)
    assert (spec.fs, spec.size) == (XFS, 300 << 20)


def test_a_volume_that_grows_by_itself_must_be_able_to(loopback: Loopback, host: Host) -> None:
    """Its own size may be the most."""
    assert loopback.resolve(Options(autogrow=SIZE)).autogrow == SIZE
    host.online = False
    assert loopback.resolve(Options()).autogrow is None
    with pytest.raises(Unsupported, match=r"with fs=ext4 here \(the kernel is old\)"):
        loopback.resolve(Options(autogrow=2 * SIZE))


@pytest.mark.parametrize(
    ("asked", "inodes"),
    [
        (Options(), 1000),
        (Options(size=4 * SIZE), 2012),
        (Options(fs=XFS), None),
        (Options(fs=EXT4), 1000),
    ],
)
def test_a_clone_has_the_limit_of_files_of_its_source(
    loopback: Loopback, asked: Options, inodes: int | None
) -> None:
    """More of them if it is larger, as growing gives them; another filesystem counts otherwise."""
    spec = Spec(backend="loopback", fs=EXT4, size=SIZE, inodes=1000, uid=7)
    inherited = loopback.inherited(spec, asked)
    assert (inherited.inodes, inherited.uid, inherited.size) == (inodes, 7, SIZE)


@pytest.mark.parametrize(
    ("asked", "online", "expected"),
    [
        (Options(), True, 4 * SIZE),
        (Options(size=4 * SIZE), True, 4 * SIZE),
        (Options(size=4 * SIZE + 4096), True, None),
        (Options(fs=BTRFS), True, 4 * SIZE),
        (Options(fs=BTRFS), False, None),
        (Options(), False, None),
    ],
)
def test_a_clone_grows_by_itself_as_its_source_where_it_can(
    loopback: Loopback, host: Host, asked: Options, online: bool, expected: int | None
) -> None:
    """What was asked of the source, and is not possible here, is left out; it refuses nothing."""
    host.online = online
    spec = Spec(backend="loopback", fs=EXT4, size=SIZE, autogrow=4 * SIZE)
    assert loopback.inherited(spec, asked).autogrow == expected
    beyond = spec.model_copy(update={"autogrow": 17 * SIZE})
    assert loopback.inherited(beyond, asked).autogrow is None


# Made


@pytest.mark.parametrize(
    ("spec", "calls", "mode"),
    [
        ({}, ["in pieces", "mkfs ext4", "private"], 0o755),
        ({"sparse": False}, ["in place", "mkfs ext4", "private"], 0o755),
        (
            {"fs": BTRFS, "uid": 5, "mode": 0o700},
            ["in pieces", "mkfs btrfs", "private", "subvolume", "owner 5 -1"],
            0o700,
        ),
        ({"gid": 6, "mode": 0}, ["in pieces", "mkfs ext4", "private", "owner -1 6"], 0),
    ],
)
def test_a_volume_is_made_and_on_the_disk(
    loopback: Loopback,
    image: MakePlace,
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
    *,
    spec: dict[str, object],
    calls: list[str],
    mode: int,
) -> None:
    """Reserved before it is formatted; its folder within is on the disk when it is unmounted."""
    volume = image(**{"sparse": True, **spec})
    images.path(volume).unlink()
    unsynced = Unsynced(monkeypatch)
    left: list[set[str]] = []
    private = host.privately

    @contextmanager
    def privately(place: Place, *options: str) -> Iterator[Path]:
        with private(place, *options) as top:
            yield top
            left.append(unsynced.left(volume.home))

    monkeypatch.setattr(images, "privately", privately)
    assert loopback.create(volume) == volume.spec
    assert host.calls == calls
    found = images.path(volume).stat()
    assert (found.st_size, found.st_mode & 0o777) == (SIZE, 0o600)
    assert found.st_blocks * 512 >= (0 if volume.spec.sparse else SIZE)
    assert (host.top / "data").stat().st_mode & 0o7777 == mode
    assert (left, unsynced.left(volume.home)) == ([set()], set())


def test_what_is_there_is_not_written_over(
    loopback: Loopback, image: MakePlace, host: Host
) -> None:
    volume = image()
    with pytest.raises(FileExistsError):
        loopback.create(volume)
    assert host.calls == []


def test_what_the_new_filesystem_says_of_growing_holds(
    loopback: Loopback, image: MakePlace, host: Host
) -> None:
    """It is asked once it is there, before anything is put into it."""
    host.largest = 2 * SIZE
    volume = image(autogrow=4 * SIZE)
    images.path(volume).unlink()
    with pytest.raises(InvalidOption, match="can grow to 128MiB at most"):
        loopback.create(volume)
    assert "private" not in host.calls


# Adopted


@pytest.mark.parametrize(
    ("there", "error", "told"),
    [
        ("nothing", NotFound, "no image at"),
        ("a folder", Corrupt, "is not an image of ext4"),
        ("a link", Corrupt, "is not an image of ext4"),
        ("an empty file", Corrupt, "is not an image of ext4"),
        ("a damaged image", Corrupt, r"is damaged \(a bad block\); repair it"),
    ],
)
def test_only_a_sound_image_is_adopted(
    loopback: Loopback,
    image: MakePlace,
    host: Host,
    tmp_path: Path,
    *,
    there: str,
    error: type[ConvoyError],
    told: str,
) -> None:
    """And it is looked over before it is mounted."""
    volume = image()
    path = images.path(volume)
    if there == "a damaged image":
        host.damaged = True
    elif there == "an empty file":
        os.truncate(path, 0)
    else:
        path.rename(tmp_path / "other")
    if there == "a folder":
        path.mkdir()
    elif there == "a link":
        path.symlink_to(tmp_path / "other")
    with pytest.raises(error, match=told):
        loopback.adopt(volume, Options())
    assert "private ro" not in host.calls


@pytest.mark.parametrize(
    ("recorded", "full", "sparse"),
    [(None, False, True), (None, True, False), (True, True, True), (False, False, False)],
)
def test_an_image_is_adopted_as_what_it_is(
    loopback: Loopback,
    image: MakePlace,
    *,
    recorded: bool | None,
    full: bool,
    sparse: bool,
) -> None:
    """Reserved is one that has all of its blocks, if nothing is recorded."""
    volume = image(sparse=recorded, fs=XFS, size=2 * SIZE, grows_from=SIZE, mount_options=("ro",))
    os.truncate(images.path(volume), SIZE)
    if full:
        with images.path(volume).open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, SIZE)
    spec = loopback.adopt(volume, Options())
    assert (spec.fs, spec.size, spec.grows_from, spec.sparse) == (EXT4, SIZE, None, sparse)
    assert spec.mount_options == ("ro",)
    assert loopback.adopt(volume, Options(mount_options=("noexec",))).mount_options == ("noexec",)
    with pytest.raises(DataDiffers, match="fs is ext4, asked xfs"):
        loopback.adopt(volume, Options(fs=XFS))
    with pytest.raises(Unsupported, match="dev is not allowed"):
        loopback.adopt(volume, Options(mount_options=("dev",)))


@pytest.mark.parametrize(
    ("fs", "there", "exposed"),
    [
        (EXT4, ["data/"], "data"),
        (EXT4, ["data/", "lost+found/"], "data"),
        (EXT4, ["data/", "other"], "."),
        (EXT4, ["data/", "snapshots/"], "."),
        (EXT4, ["data"], "."),
        (EXT4, [], "."),
        (BTRFS, ["data/"], "."),
        (BTRFS, ["data/", "data/subvolume"], "data"),
        (BTRFS, ["data/", "data/subvolume", "snapshots/"], "data"),
    ],
)
def test_containers_see_what_we_laid_out_or_all_of_it(
    loopback: Loopback,
    image: MakePlace,
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
    *,
    fs: Filesystem,
    there: list[str],
    exposed: str,
) -> None:
    """Of btrfs only a subvolume can be ours."""
    monkeypatch.setattr(filesystems, "identify", lambda _: fs)
    for name in there:
        (host.top / name).mkdir() if name.endswith("/") else (host.top / name).touch()
    assert loopback.adopt(image(fs=fs), Options()).exposed == exposed
