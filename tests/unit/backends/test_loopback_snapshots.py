"""Snapshots of images: how they would come about, are read and go."""

import pytest

from convoy_py.backends.loopback import Loopback
from convoy_py.backends.loopback import image as images
from convoy_py.errors import ConvoyError, Unsettled, Unsupported
from convoy_py.linux import extents
from convoy_py.linux.extents import Shares
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.snapshot import Way
from convoy_py.models.volume import Spec
from tests.unit.backends.conftest import SIZE, MakePlace
from tests.unit.backends.fake_devices import Devices
from tests.unit.backends.fake_images import Host, uncounted

EXT4, XFS, BTRFS = Filesystem.EXT4, Filesystem.XFS, Filesystem.BTRFS


# What is foretold


@pytest.mark.parametrize(
    ("spec", "of_snapshot", "clone", "reflinks", "way", "hint"),
    [
        ({}, False, False, True, Way.REFLINK, ""),
        ({}, False, True, True, Way.REFLINK, ""),
        (
            {},
            False,
            False,
            False,
            Way.COPY,
            r"has none: .* btrfs, or make the volume with fs=btrfs",
        ),
        ({}, False, True, False, Way.COPY, r"has none: keep the root on xfs or btrfs$"),
        ({"sparse": False}, False, False, True, Way.COPY, "make it one with sparse=true"),
        ({"sparse": False}, False, False, False, Way.COPY, "has none: "),
        ({"sparse": False}, True, False, True, Way.REFLINK, ""),
        ({"sparse": False}, True, True, True, Way.COPY, "make it one with sparse=true"),
        ({"fs": BTRFS}, False, False, True, Way.INSIDE, ""),
        ({"fs": BTRFS}, False, True, True, Way.REFLINK, ""),
        ({"fs": BTRFS}, True, False, True, Way.REFLINK, ""),
    ],
)
def test_how_a_copy_would_come_about(
    loopback: Loopback,
    image: MakePlace,
    host: Host,
    *,
    spec: dict[str, object],
    of_snapshot: bool,
    clone: bool,
    reflinks: bool,
    way: Way,
    hint: str,
) -> None:
    """What is reserved is shared with nothing; a snapshot's own blocks are written by nobody."""
    host.reflinks = reflinks
    volume = image(**spec)
    found = image("s", volume, **spec) if of_snapshot else volume
    plan = loopback.plan(found, clone=clone)
    assert (plan.way, plan.instant) == (way, way is not Way.COPY)
    if hint:
        with pytest.raises(Unsupported, match=hint):
            raise Unsupported(plan.hint)
    else:
        assert plan.hint == ""


def test_a_btrfs_of_someone_else_has_no_snapshots(
    loopback: Loopback, image: MakePlace, host: Host
) -> None:
    """Its data lies at the top; its files can be cloned."""
    theirs = image(fs=BTRFS, exposed=".")
    for refused in (
        lambda: loopback.plan(theirs),
        lambda: loopback.copy(theirs, image("s", theirs), uncounted),
    ):
        with pytest.raises(Unsupported, match="made by someone else"):
            refused()
    assert host.calls == []
    assert not loopback.clones(theirs, theirs.spec)
    assert loopback.plan(theirs, clone=True).instant


@pytest.mark.parametrize(
    ("fs", "of_snapshot", "clone", "frozen"),
    [
        (EXT4, False, False, True),
        (EXT4, False, True, True),
        (EXT4, True, True, False),
        (BTRFS, False, False, False),
        (BTRFS, False, True, True),
        (BTRFS, True, True, True),
    ],
)
def test_what_is_written_while_it_is_copied_stands_still(
    loopback: Loopback,
    image: MakePlace,
    devices: Devices,
    *,
    fs: Filesystem,
    of_snapshot: bool,
    clone: bool,
    frozen: bool,
) -> None:
    """Not a snapshot's own image, nor a filesystem in which the snapshot is made."""
    volume = image(fs=fs)
    found = image("s", volume) if of_snapshot else volume
    assert loopback.freezable(found, clone=clone) is None
    devices.show(found)
    at = found.mountpoint if frozen else None
    assert loopback.freezable(found, clone=clone) == at


@pytest.mark.parametrize(
    ("source", "wanted", "possible"),
    [
        ({}, {}, True),
        ({}, {"size": 2 * SIZE}, True),
        ({}, {"size": 16 * SIZE}, False),
        ({}, {"size": SIZE - 4096}, False),
        ({}, {"size": None}, False),
        ({}, {"fs": XFS}, False),
        ({}, {"backend": "directory"}, False),
        ({}, {"autogrow": 8 * SIZE}, True),
        ({}, {"autogrow": 8 * SIZE + 1}, False),
        ({}, {"inodes": 500}, False),
        ({"inodes": 500}, {"inodes": 500}, True),
        ({"inodes": 500}, {"inodes": None}, False),
        ({"exposed": "."}, {}, True),
        ({"fs": BTRFS}, {"fs": BTRFS}, True),
        ({"fs": BTRFS, "exposed": "."}, {"fs": BTRFS}, False),
    ],
)
@pytest.mark.parametrize("of_snapshot", [True, False])
def test_what_a_copy_of_the_image_can_become(
    loopback: Loopback,
    image: MakePlace,
    *,
    source: dict[str, object],
    wanted: dict[str, object],
    possible: bool,
    of_snapshot: bool,
) -> None:
    """The same filesystem with no fewer bytes and the same inodes; else its files are copied."""
    volume = image(**source)
    found = image("s", volume, **source) if of_snapshot else volume
    spec = Spec.model_validate({"backend": "loopback", "fs": EXT4, "size": SIZE, **wanted})
    assert loopback.clones(found, spec) is possible


# Withdrawn


@pytest.mark.parametrize(
    ("failing", "error"), [("", None), ("delete", OSError), ("sync", Unsettled)]
)
def test_a_snapshot_inside_is_gone_when_it_is_withdrawn(
    loopback: Loopback, image: MakePlace, host: Host, failing: str, error: type[Exception] | None
) -> None:
    """On the disk too, for without its record nobody would find it."""
    host.failing = failing
    taken = image("s", image(fs=BTRFS))
    if error is None:
        loopback.withdraw(taken)
        loopback.withdraw(taken)
        assert host.calls == ["private", "delete before", "sync", "private"]
        return
    with pytest.raises((OSError, ConvoyError)) as told:
        loopback.withdraw(taken)
    assert isinstance(told.value, error)


def test_of_what_is_not_inside_nothing_is_withdrawn(
    loopback: Loopback, image: MakePlace, host: Host
) -> None:
    """It lies in its home, or went with the volume's image."""
    lost = image("lost", fs=BTRFS)
    taken = image("l", lost)
    images.path(lost).unlink()
    for each in (image("s", image()), image("v", fs=BTRFS), taken):
        loopback.withdraw(each)
    assert host.calls == []


# Read


@pytest.mark.parametrize("mounted", [True, False])
@pytest.mark.parametrize("writes", [True, False])
def test_it_is_read_where_it_is_mounted_or_privately(
    loopback: Loopback,
    image: MakePlace,
    devices: Devices,
    host: Host,
    *,
    mounted: bool,
    writes: bool,
) -> None:
    volume = image()
    if mounted:
        devices.show(volume)
    with (loopback.writing if writes else loopback.reading)(volume) as folder:
        assert folder == (volume.mountpoint if mounted else host.top) / "data"
    private = "private" if writes else "private ro"
    assert host.calls == ([] if mounted else [private])


def test_what_lies_inside_is_measured_where_it_is_mounted_anyway(
    loopback: Loopback,
    image: MakePlace,
    devices: Devices,
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To mount it for this would be in the way of who mounts the volume."""
    monkeypatch.setattr(extents, "shares", lambda _: Shares(1, 1))
    monkeypatch.setattr(extents, "tree_shares", lambda _: Shares(2, 2))
    volume = image(fs=BTRFS)
    taken = image("s", volume)
    assert loopback.shares(volume) == Shares(1, 1)
    assert loopback.shares(taken) is None
    devices.show(volume)
    assert loopback.shares(taken) == Shares(2, 2)
