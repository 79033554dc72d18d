"""Copies of images, and what is put back from them: in which order, and what fails how."""

import os
from pathlib import Path

import pytest

from convoy_py.backends.base import Place
from convoy_py.backends.loopback import Loopback
from convoy_py.backends.loopback import image as images
from convoy_py.errors import ConvoyError, OperationFailed, Unsettled, Unsupported
from convoy_py.linux import btrfs, files, reflink
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import Spec
from tests.unit.backends.conftest import SIZE, UUID, MakePlace
from tests.unit.backends.fake_devices import Devices
from tests.unit.backends.fake_images import Host, content, filled, uncounted
from tests.unsynced import Unsynced

EXT4, XFS, BTRFS = Filesystem.EXT4, Filesystem.XFS, Filesystem.BTRFS


def _target(image: MakePlace, within: Place | None = None, **spec: object) -> Place:
    """A place with an empty home."""
    found = image("target", within, **spec)
    (found.home / "image").unlink(missing_ok=True)
    return found


# Copies


@pytest.mark.parametrize(
    ("of_snapshot", "spec", "calls"),
    [
        (False, {}, ["identity", "private", "sync"]),
        (True, {}, ["private"]),
        (
            False,
            {"fs": BTRFS},
            ["private", "identity", "private", "delete old", "delete before", "sync"],
        ),
    ],
)
def test_a_copy_is_made_independent_and_durable(
    loopback: Loopback,
    image: MakePlace,
    host: Host,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    of_snapshot: bool,
    spec: dict[str, object],
    calls: list[str],
) -> None:
    """A clone gets an identity before it is mounted, and keeps none of the snapshots; of what lies
    in an image, the log is replayed first."""
    (host.top / ".new-0123").mkdir()
    (host.top / ".new-0123/file").write_text("old")
    monkeypatch.setattr(btrfs, "is_btrfs", lambda _: False)

    def remove(path: Path) -> None:
        assert path.name == "snapshots"
        host.delete(path / UUID)

    monkeypatch.setattr(files, "remove_tree", remove)
    source = filled(image("source", **spec), "now")
    target = _target(image, source if of_snapshot else None, **spec)
    unsynced = Unsynced(monkeypatch)
    loopback.copy(source, target, uncounted)
    found = loopback.finish(source, target, uncounted)
    assert host.calls == calls
    assert content(target) == "now"
    assert (found.grows_from, found.exposed) == (None, "data")
    assert unsynced.left(target.home, host.top) == set()


def test_a_clone_of_what_lies_inside_becomes_that(
    loopback: Loopback, image: MakePlace, host: Host
) -> None:
    """Its data is the snapshot's; what it replaces goes."""
    volume = filled(image("source", fs=BTRFS), "x")
    target = _target(image, fs=BTRFS)
    loopback.copy(image("s", volume), target, uncounted)
    loopback.finish(image("t", volume), target, uncounted)
    assert host.calls[-5:] == [
        "private",
        f"snapshot {UUID} rw",
        "exchange",
        "delete now",
        "sync",
    ]
    assert (host.top / "data/file").read_text() == "before"


def test_a_snapshot_inside_is_one_of_the_data(
    loopback: Loopback, image: MakePlace, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read-only, and named by its id; nested subvolumes are refused before anything is made."""
    volume = image(fs=BTRFS)
    files.remove_tree(host.top / "snapshots")
    taken = image("s", volume, grows_from=SIZE)
    with monkeypatch.context() as patched:
        patched.setattr(btrfs, "nested", lambda _: ["sub"])
        with pytest.raises(Unsupported, match="leave out"):
            loopback.copy(volume, taken, uncounted)
    assert not (host.top / "snapshots").exists()
    loopback.copy(volume, taken, uncounted)
    assert host.calls == ["private", "private", "snapshot data ro"]
    assert (host.top / "snapshots" / UUID / "file").read_text() == "now"
    found = loopback.finish(volume, taken, uncounted)
    assert (found.exposed, found.grows_from) == (".", None)


@pytest.mark.parametrize(
    ("mounted", "options", "at"),
    [(True, None, "mounted"), (True, ("ro",), "private"), (False, None, "private")],
)
def test_the_top_of_an_image_is_where_it_can_be_written(
    loopback: Loopback,
    image: MakePlace,
    devices: Devices,
    host: Host,
    *,
    mounted: bool,
    options: tuple[str, ...] | None,
    at: str,
) -> None:
    """A mount that is read-only for containers stays so."""
    volume = image(fs=BTRFS, mount_options=options)
    if mounted:
        devices.show(volume)
        (volume.mountpoint / "data").mkdir(parents=True)
        (volume.mountpoint / "data/file").write_text("now")
    files.remove_tree(host.top / "snapshots")
    loopback.copy(volume, image("s", volume), uncounted)
    assert ("private" in host.calls) is (at == "private")


@pytest.mark.parametrize(
    ("reflinks", "sparse", "shares"),
    [(True, True, True), (False, True, True), (True, False, False)],
)
def test_no_copy_of_what_is_reserved_shares_blocks(
    loopback: Loopback,
    image: MakePlace,
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
    *,
    reflinks: bool,
    sparse: bool,
    shares: bool,
) -> None:
    """What is copied byte for byte is counted, and nothing of what is shared at once."""
    host.reflinks = reflinks
    asked: list[tuple[bool, int]] = []

    def copy(
        source: Path, target: Path, step: reflink.Step, counted: int, *, share: bool = True
    ) -> None:
        asked.append((share, counted))

    monkeypatch.setattr("convoy_py.backends.loopback.file.copy", copy)
    source = filled(image("source", sparse=sparse), "now")
    loopback.copy(source, _target(image), uncounted)
    counted = 0 if reflinks and sparse else images.path(source).stat().st_blocks * 512
    assert asked == [(shares, counted)]


@pytest.mark.parametrize(
    ("mounted", "live", "copied"), [(True, True, True), (False, False, True), (False, True, False)]
)
def test_only_what_stands_still_is_copied(
    loopback: Loopback,
    image: MakePlace,
    devices: Devices,
    *,
    mounted: bool,
    live: bool,
    copied: bool,
) -> None:
    """What is live out of sight cannot be frozen, and nothing of it is copied."""
    source, target = filled(image("source"), "now"), _target(image)
    if mounted:
        devices.show(source)
    elif live:
        devices.add(source)
    if copied:
        loopback.copy(source, target, uncounted)
        return
    with pytest.raises(OperationFailed, match="its image is live on /dev/loop0, but mounted now"):
        loopback.copy(source, target, uncounted)
    assert list(target.home.iterdir()) == []


def test_a_snapshots_own_image_stands_still(
    loopback: Loopback, image: MakePlace, devices: Devices
) -> None:
    """Whoever has it."""
    source = filled(image("s", image()), "before")
    devices.add(source)
    target = _target(image)
    loopback.copy(source, target, uncounted)
    assert content(target) == "before"


@pytest.mark.parametrize(
    ("source", "length", "size", "grown"),
    [
        ({}, SIZE, SIZE, False),
        ({}, SIZE, 2 * SIZE, True),
        ({"size": 2 * SIZE, "grows_from": SIZE}, SIZE, 2 * SIZE, True),
        ({"size": 2 * SIZE, "grows_from": SIZE}, 2 * SIZE, 2 * SIZE, True),
    ],
)
def test_a_clone_is_as_large_as_is_asked(
    loopback: Loopback,
    image: MakePlace,
    host: Host,
    *,
    source: dict[str, int],
    length: int,
    size: int,
    grown: bool,
) -> None:
    """Also where its source was cut off growing: the filesystem in it may be smaller still."""
    found = image("source", **source)
    os.truncate(images.path(found), length)
    target = _target(image, size=size)
    loopback.copy(found, target, uncounted)
    assert loopback.finish(found, target, uncounted).size == size
    assert images.path(target).stat().st_size == size
    assert ("grow" in host.calls) is grown


@pytest.mark.parametrize(("length", "grown"), [(SIZE, True), (2 * SIZE, True)])
def test_a_snapshot_keeps_the_length_that_it_finds(
    loopback: Loopback, image: MakePlace, host: Host, *, length: int, grown: bool
) -> None:
    source = image("source", size=2 * SIZE, grows_from=SIZE)
    os.truncate(images.path(source), length)
    taken = _target(image, source, grows_from=SIZE)
    loopback.copy(source, taken, uncounted)
    found = loopback.finish(source, taken, uncounted)
    assert (found.size, found.grows_from) == (length, None)
    assert ("grow" in host.calls) is grown


@pytest.mark.parametrize("sparse", [True, False])
def test_a_reserved_clone_gets_its_blocks(
    loopback: Loopback, image: MakePlace, monkeypatch: pytest.MonkeyPatch, *, sparse: bool
) -> None:
    """Whatever its source was."""
    source, target = image("source", sparse=not sparse), _target(image, sparse=sparse)
    loopback.copy(source, target, uncounted)
    loopback.finish(source, target, uncounted)
    blocks = images.path(target).stat().st_blocks * 512
    assert blocks == (0 if sparse else SIZE)


# Rollbacks


def _staged(tmp_path: Path) -> Place:
    home = tmp_path / "staged"
    home.mkdir()
    return Place("staged", "", home, tmp_path / "mounts/staged", Spec(backend=""))


@pytest.mark.parametrize(
    ("spec", "now", "calls", "blocks"),
    [
        ({}, SIZE, ["exchange"], 0),
        ({"sparse": False}, SIZE, ["exchange"], SIZE),
        ({"size": 2 * SIZE}, 2 * SIZE, ["grow", "exchange"], 0),
    ],
)
def test_a_rollback_exchanges_what_is_whole(
    loopback: Loopback,
    image: MakePlace,
    host: Host,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    spec: dict[str, object],
    now: int,
    calls: list[str],
    blocks: int,
) -> None:
    """As large and as reserved as the volume; on the disk, as are both names."""
    volume = filled(image(**spec), "now")
    nightly = filled(image("s", volume, size=SIZE), "before")
    unsynced = Unsynced(monkeypatch)
    staged = _staged(tmp_path)
    loopback.rollback(volume, nightly, staged, uncounted)
    assert host.calls == calls
    assert (content(volume), content(staged)) == ("before", "now")
    assert images.path(volume).stat().st_size == now
    assert images.path(volume).stat().st_blocks * 512 >= blocks
    assert (unsynced.left(tmp_path), unsynced.early) == (set(), [])


def test_a_rollback_inside_is_on_the_disk_before_the_old_goes(
    loopback: Loopback, image: MakePlace, host: Host, tmp_path: Path
) -> None:
    """What one that was cut off left goes first."""
    (host.top / ".new-0123").mkdir()
    (host.top / ".new-0123/file").write_text("old")
    volume = image(fs=BTRFS)
    loopback.rollback(volume, image("s", volume), _staged(tmp_path), uncounted)
    assert host.calls == [
        "private",
        "delete old",
        f"snapshot {UUID} rw",
        "exchange",
        "sync",
        "delete now",
    ]
    assert (host.top / "data/file").read_text() == "before"


@pytest.mark.parametrize(
    ("failing", "error", "there"),
    [
        ("snapshot", OSError, "now"),
        ("exchange", OSError, "now"),
        ("sync", Unsettled, "before"),
        ("delete", Unsettled, "before"),
    ],
)
def test_a_rollback_inside_that_fails_leaves_one_content(
    loopback: Loopback,
    image: MakePlace,
    host: Host,
    tmp_path: Path,
    *,
    failing: str,
    error: type[Exception],
    there: str,
) -> None:
    """After the exchange it says that the volume has gone back."""
    host.failing = failing
    volume = image(fs=BTRFS)
    with pytest.raises((OSError, ConvoyError)) as told:
        loopback.rollback(volume, image("s", volume), _staged(tmp_path), uncounted)
    assert isinstance(told.value, error)
    assert (host.top / "data/file").read_text() == there
