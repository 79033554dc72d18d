"""What only images that grow can meet."""

import os
from dataclasses import replace

import pytest

from convoy_py.backends import BACKENDS
from convoy_py.backends.base import Place
from convoy_py.errors import InvalidOption, NoSpace, OperationFailed, Unsupported
from convoy_py.linux import growing, loop
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import Options
from tests.conformance.bed import MIB, Bed, Case
from tests.functional.backends.conftest import MakeBed

pytestmark = pytest.mark.root

GIB = 1 << 30


def test_a_reserved_volume_without_room_keeps_its_size(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was changed: the record of before is true again."""
    place = bed.created(sparse=False)
    (bed.mounted(place) / "file").write_text("kept")
    wanted = replace(place, spec=bed.sizes.resized(place.spec, 512 * MIB))

    def fail(fd: int, begin: int, size: int) -> None:
        os.truncate(fd, begin + size)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.posix_fallocate", fail)
        with pytest.raises(NoSpace, match=r"volume vol cannot grow to 512MiB.*No space left"):
            bed.sizes.grow(wanted)
    bed.backend.check(place)
    assert (bed.remounted(place) / "file").read_text() == "kept"
    bed.unmounted(place)
    bed.at_rest(place)


@pytest.mark.parametrize("fails", ["sync", "mount"])
def test_once_the_image_is_longer_the_growth_stays_to_be_completed(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """A host without room, in a moment when the record of before is not true any more."""
    place = bed.created(fs="xfs", size=300 * MIB)
    wanted = replace(place, spec=bed.sizes.resized(place.spec, 512 * MIB))

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def full(*_: object) -> None:
        raise NoSpace("the host is full")

    with monkeypatch.context() as patched:
        if fails == "sync":
            patched.setattr("os.fsync", fail)
        else:
            patched.setattr("convoy_py.backends.loopback.image.mount", full)
        with pytest.raises(OperationFailed, match="it is tried again at the next mount"):
            bed.sizes.grow(wanted)
    bed.backend.check(wanted)
    bed.mounted(wanted)
    bed.unmounted(wanted)
    bed.at_rest(wanted)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"fs": "xfs", "size": 300 * MIB, "autogrow": 8 << 40},
            "xfs that begins with 300MiB can grow to 300GiB at most; begin with size=8GiB or more",
        ),
        (
            {"fs": "ext4", "size": 64 * MIB, "autogrow": (64 << 30) + 1},
            "ext4 that begins with 64MiB can grow to 64GiB at most; begin with size=72MiB or more",
        ),
        (
            {"fs": "ext4", "size": 16 << 30, "autogrow": 10 << 40},
            "ext4 that begins with 16GiB can grow to 8208GiB at most; begin with size=2TiB or more",
        ),
    ],
)
def test_no_volume_is_to_grow_by_itself_further_than_it_can(
    make_bed: MakeBed, monkeypatch: pytest.MonkeyPatch, options: dict[str, int], told: str
) -> None:
    """Told at once, with what is possible and how more would be."""
    monkeypatch.setattr(growing, "can_grow_online", lambda fs: None)
    bed = make_bed(Case("loopback", BACKENDS["loopback"], "image", Options()))
    with pytest.raises(InvalidOption, match=told):
        bed.backend.resolve(Options.model_validate(options))


def test_as_far_as_it_can_a_volume_may_grow(
    make_bed: MakeBed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the filesystem itself says has the last word, also of a clone."""
    case = Case("loopback", BACKENDS["loopback"], "image", Options(fs=Filesystem.XFS))
    bed = make_bed(case)
    source = bed.created(size=300 * MIB, autogrow=300 << 30)
    wanted = Options(fs=Filesystem.XFS, size=GIB, autogrow=300 << 30, source="vol")
    assert bed.snapshots.clones(source, bed.backend.resolve(wanted))
    # A copy of its image could not become so large: its files go into a new one.
    wanted = wanted.model_copy(update={"autogrow": GIB * 1024})
    assert not bed.snapshots.clones(source, bed.backend.resolve(wanted))
    monkeypatch.setattr(growing, "reach", lambda fs, size: 1 << 60)
    with pytest.raises(InvalidOption, match="300GiB at most"):
        bed.created("other", size=300 * MIB, autogrow=(300 << 30) + 4096)


def test_a_tool_that_is_missing_delays_the_growth(
    make_bed: MakeBed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The volume is not mounted half grown; it is completed once the tool is there."""
    bed, _, wanted = _to_grow_offline(make_bed, monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr("convoy_py.linux.process._PATH", "/nonexistent")
        for refused in (bed.sizes.grow, bed.mounted):
            with pytest.raises(OperationFailed, match=r"vol.*could not grow.*package e2fsprogs"):
                refused(wanted)
    bed.detached()
    bed.backend.check(wanted)
    assert os.statvfs(bed.mounted(wanted)).f_blocks * 4096 > 100 * MIB


def test_an_image_that_others_have_live_is_not_grown_under_them(
    make_bed: MakeBed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be destroyed; neither is it mounted half grown."""
    bed, place, wanted = _to_grow_offline(make_bed, monkeypatch)
    with bed.data(place).open("r+b") as image:
        _, fd = loop.attach(image.fileno(), tag=f"convoy:{place.uuid}")
        with open(fd, "rb"):
            assert bed.sizes.grow(wanted) is False
            with pytest.raises(OperationFailed, match=r"vol.*cannot grow to 128MiB"):
                bed.mounted(wanted)
    bed.detached()
    assert bed.sizes.grow(wanted) is True
    bed.at_rest(wanted)


def test_a_size_that_the_filesystem_cannot_have_changes_nothing(bed: Bed) -> None:
    """Ext4 and xfs have bounds from the day they were made, btrfs a least size; it says which."""
    place = bed.created()
    size = 200 * MIB if place.spec.fs is Filesystem.BTRFS else 2**40
    wanted = replace(place, spec=bed.sizes.resized(place.spec, size))
    with pytest.raises(Unsupported, match=r"volume vol: its \w+ can grow to .*convoy convert vol"):
        bed.sizes.grow(wanted)
    bed.backend.check(place)
    bed.mounted(place)


def test_a_volume_mounted_read_only_grows_with_its_next_mount(bed: Bed) -> None:
    """It says why."""
    place = bed.created(mount_options=("ro",))
    seen = bed.mounted(place)
    wanted = replace(place, spec=bed.sizes.resized(place.spec, 640 * MIB))
    assert bed.sizes.delay(wanted) == "it is mounted read-only"
    assert bed.sizes.grow(wanted) is False
    before = os.statvfs(seen).f_blocks
    assert os.statvfs(bed.remounted(wanted)).f_blocks > before
    assert {"ro"} <= bed.mount_options(wanted)


def test_autogrow_is_for_what_grows_while_it_is_used(bed: Bed) -> None:
    """Up to more than the size, and within the bounds of the filesystem."""
    fs = bed.case.options.fs
    assert fs is not None
    asked = bed.case.options.model_copy(update={"autogrow": 2**30})
    if reason := growing.can_grow_online(fs):
        with pytest.raises(Unsupported) as refused:
            bed.backend.resolve(asked)
        assert reason in str(refused.value)
        assert "fs=xfs or fs=btrfs" in str(refused.value)
        return
    assert bed.backend.resolve(asked).autogrow == 2**30
    with pytest.raises(InvalidOption, match="autogrow 1MiB is less than the size"):
        bed.backend.resolve(asked.model_copy(update={"autogrow": MIB}))
    with pytest.raises(InvalidOption, match=r"outside of"):
        bed.backend.resolve(asked.model_copy(update={"autogrow": 2**60}))


def _to_grow_offline(
    make_bed: MakeBed, monkeypatch: pytest.MonkeyPatch
) -> tuple[Bed, Place, Place]:
    """A volume of 64 MiB, and as it is to be at 128 MiB, where nothing grows while mounted."""
    options = Options(fs=Filesystem.EXT4, size=64 * MIB)
    bed = make_bed(Case("loopback", BACKENDS["loopback"], "image", options))
    monkeypatch.setattr("convoy_py.linux.growing.can_grow_online", lambda fs: "not here")
    place = bed.created()
    bed.detached()  # others of this host may look at its device for a moment
    return bed, place, replace(place, spec=bed.sizes.resized(place.spec, 128 * MIB))
