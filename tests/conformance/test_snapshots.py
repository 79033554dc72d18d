"""What the contract says of snapshots, clones and rollbacks, on every filesystem.

Knows no backend by name. tests/conformance/test_suite_rejects.py shows what each test catches.
"""

import itertools
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from convoy_py.backends.base import Place
from convoy_py.errors import Cancelled, Unsupported
from convoy_py.linux import btrfs, files, filesystems, mounts
from convoy_py.linux.reflink import Step
from convoy_py.models.snapshot import Way
from tests.conformance.bed import MIB, Bed, wait_until, written

pytestmark = pytest.mark.root


def test_a_snapshot_is_what_was_acknowledged_before_it(bed: Bed) -> None:
    """What was fsynced before is in it, and nothing that came after, though the volume is in use;
    containers see nothing of it in the volume."""
    place = bed.created()
    seen = bed.mounted(place)
    written(seen / "file", 2 * MIB)
    (seen / "changed").write_text("before")
    content = (seen / "file").read_bytes()
    snapshot = bed.snapshot(place)
    (seen / "changed").write_text("after")
    (seen / "later").touch()
    assert names(seen) == {"file", "changed", "later"}
    for at in (bed.mounted(snapshot), bed.remounted(snapshot)):
        assert names(at) == {"file", "changed"}
        assert (at / "file").read_bytes() == content
        assert (at / "changed").read_text() == "before"
    assert (seen / "changed").read_text() == "after"
    bed.unmounted(place)
    bed.unmounted(snapshot)
    bed.at_rest(place)
    bed.at_rest(snapshot)


def test_what_is_written_while_it_is_copied_beside_writers_is_in_it(bed: Bed) -> None:
    """Until it is frozen: what was changed, grew, came and went in between, and is on the disk."""
    place = bed.created()
    seen = bed.mounted(place)
    written(seen / "file", 8 * MIB)
    written(seen / "short lived", 4 * MIB)

    def change(source: Place, target: Place, step: Step) -> bool:
        again = precopy(source, target, step)
        with (seen / "file").open("r+b") as file:
            for at in range(0, 8 * MIB, MIB):
                os.pwrite(file.fileno(), b"changed", at)
        (seen / "short lived").unlink(missing_ok=True)
        written(seen / "later", MIB)
        files.sync_filesystem(seen)
        return again

    precopy = bed.snapshots.precopy
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bed.snapshots, "precopy", change)
        snapshot = bed.snapshot(place)
    content = (seen / "file").read_bytes()
    written(seen / "file", 8 * MIB)
    at = bed.mounted(snapshot)
    assert names(at) == {"file", "later"}
    assert (at / "file").read_bytes() == content
    assert content[7 * MIB :].startswith(b"changed")


def test_a_snapshot_is_read_only(bed: Bed) -> None:
    """Not even root writes, though the volume beside it is written."""
    place = bed.created()
    seen = bed.mounted(place)
    snapshot = bed.snapshot(place)
    at = bed.mounted(snapshot)
    assert {"ro", "nosuid", "nodev"} <= bed.mount_options(snapshot)
    with pytest.raises(OSError, match="Read-only"):
        (at / "file").touch()
    (seen / "file").touch()


def test_volume_and_snapshots_are_mounted_apart(bed: Bed) -> None:
    """Each is mounted, held, unmounted and deleted for itself, in any order."""
    place = bed.created()
    (bed.mounted(place) / "file").write_text("1")
    first = bed.snapshot(place, "first")
    (bed.backend.exposed(place) / "file").write_text("2")
    second = bed.snapshot(place, "second")
    (bed.backend.exposed(place) / "file").write_text("3")
    bed.unmounted(place)
    assert (bed.mounted(first) / "file").read_text() == "1"
    assert [bed.backend.is_mounted(p) for p in (place, first, second)] == [False, True, False]
    assert (bed.mounted(place) / "file").read_text() == "3"
    assert (bed.mounted(second) / "file").read_text() == "2"
    with (bed.backend.exposed(second) / "file").open():
        assert bed.backend.unmount(second) is False
    bed.unmounted(place)
    bed.unmounted(second)
    bed.deleted(second)
    assert not second.home.exists()
    assert (bed.remounted(first) / "file").read_text() == "1"
    bed.unmounted(first)
    bed.at_rest(place)
    assert (bed.mounted(place) / "file").read_text() == "3"


def test_holders_of_one_are_not_the_others(bed: Bed) -> None:
    """Who has the snapshot mounted does not hold the volume, and is named for the snapshot."""
    place = bed.created()
    snapshot = bed.snapshot(place)
    bed.mounted(snapshot)
    stranger = bed.leak()
    bed.mounted(place)

    def held(one: Place) -> bool:
        return stranger.pid in {holder.pid for holder in bed.holders(one)}

    for mounted in (snapshot, place):
        assert held(snapshot)
        assert not held(place)
        bed.unmounted(mounted) if mounted is place else bed.backend.unmount(mounted)
    assert bed.backend.is_mounted(snapshot) is False
    stranger.end()
    bed.unmounted(snapshot)
    assert not held(snapshot)
    bed.at_rest(place)


def test_deleting_a_snapshot_leaves_nothing_of_it(bed: Bed) -> None:
    """Twice is done, and so is one that never came about; its space is the host's again."""
    place = bed.created()
    empty = bed.allocated(place)
    written(bed.mounted(place) / "file", 24 * MIB)
    bed.unmounted(place)
    snapshot = bed.snapshot(place)
    (bed.mounted(place) / "file").unlink()
    bed.unmounted(place)
    for _ in range(2):
        bed.deleted(snapshot)
    bed.snapshots.withdraw(replace(snapshot, uuid="0" * 32))
    bed.at_rest(place)
    if place.spec.sparse is not False:
        seen = bed.mounted(place)
        wait_until(lambda: bed.tidied(seen) and bed.allocated(place) < empty + 12 * MIB)


def test_all_of_a_file_is_kept(bed: Bed) -> None:
    """Owner, mode, times, attributes, hard and symbolic links and holes, and those of the root."""
    place = bed.created(uid=5, gid=6, mode=0o2750)
    seen = bed.mounted(place)
    furnish(seen)
    before = portrait(seen)
    snapshot = bed.snapshot(place)
    clone = bed.clone(snapshot)
    for copy in (snapshot, clone):
        assert portrait(bed.mounted(copy)) == before
        assert (bed.backend.exposed(copy) / "sparse").stat().st_blocks * 512 < MIB


def test_the_plan_comes_true(bed: Bed) -> None:
    """What is instant copies nothing and takes no space of the host; of the rest every byte is
    counted, and how to get the fast way is told."""
    place = bed.created()
    written(bed.mounted(place) / "file", 24 * MIB)
    bed.flush(place)
    nightly = place
    for name in ("nightly", "clone", "of-it"):
        clone, source = name != "nightly", nightly if name == "of-it" else place
        plan = bed.snapshots.plan(source, clone=clone)
        assert plan.instant is (plan.way.instant)
        assert plan.freezes is (bed.snapshots.freezable(source, clone=clone) is not None)
        assert bool(plan.hint) is not plan.instant
        told: list[int] = []
        before = bed.free()
        made = bed.clone if clone else bed.snapshot
        copy = made(source, name, told.append)
        bed.flush(place)
        if plan.instant:
            assert sum(told) == plan.bytes == 0
            assert before - bed.free() < 12 * MIB
        else:
            assert sum(told) == plan.bytes >= 24 * MIB
            assert plan.way in (Way.FILES, Way.COPY)
        if plan.way is Way.COPY:
            assert plan.seconds > 0
        if not clone:
            nightly = copy


def test_what_is_shared_is_told(bed: Bed) -> None:
    """A snapshot that copied nothing shares the data with its volume, any other nothing."""
    place = bed.created()
    written(bed.mounted(place) / "file", 8 * MIB)
    copies = bed.snapshots.plan(place).way is Way.COPY
    snapshot = bed.snapshot(place)
    found = bed.snapshots.shares(snapshot)
    assert found is not None
    assert found.allocated >= 8 * MIB
    assert found.shared == 0 if copies else found.shared >= 8 * MIB
    bed.unmounted(place)
    # What lies inside cannot be seen then: to mount it would be in a Mount's way.
    inside = bed.snapshots.plan(place).way is Way.INSIDE
    assert (bed.snapshots.shares(snapshot) is None) is inside
    bed.at_rest(place)


@pytest.mark.parametrize("mounted", [True, False])
def test_what_was_reserved_is_shared_with_nothing(bed: Bed, *, mounted: bool) -> None:
    """Else the first write to each block would need another one, which the host may not have."""
    place = bed.created()
    if place.spec.sparse is not False:
        return  # nothing was
    written(bed.mounted(place) / "file", 4 * MIB)
    if not mounted:
        bed.unmounted(place)
    clone = bed.clone(bed.snapshot(place))
    for each in (place, clone):
        shares = bed.snapshots.shares(each)
        assert shares is not None
        assert shares.shared == 0
        assert bed.data(each).stat().st_blocks * 512 >= (place.spec.size or 0)


def test_a_clone_is_a_volume_of_its_own(bed: Bed) -> None:
    """Of a volume in use or of a snapshot; what is written to one is in no other, and it outlives
    them all."""
    place = bed.created(uid=5, gid=6, mode=0o750)
    seen = bed.mounted(place)
    (seen / "file").write_text("golden")
    snapshot = bed.snapshot(place)
    (seen / "file").write_text("live")
    clones = {"golden": bed.clone(snapshot, "one"), "live": bed.clone(place, "two", uid=7)}
    for content, clone in clones.items():
        at = bed.mounted(clone)
        assert (at / "file").read_text() == content
        assert at.stat().st_uid == (5 if content == "golden" else 7)
        assert (at.stat().st_gid, stat.S_IMODE(at.stat().st_mode)) == (6, 0o750)
        (at / "file").write_text(f"{content}, changed")
    assert (seen / "file").read_text() == "live"
    assert (bed.mounted(snapshot) / "file").read_text() == "golden"
    for one in (place, snapshot):
        bed.unmounted(one)
    bed.deleted(snapshot)
    bed.backend.destroy(place)
    for content, clone in clones.items():
        assert (bed.remounted(clone) / "file").read_text() == f"{content}, changed"
        bed.unmounted(clone)
    for clone in clones.values():
        bed.at_rest(clone)


def test_a_clone_has_a_limit_of_its_own(bed: Bed) -> None:
    """As large as was asked for, and reserved if that was asked for."""
    if bed.host.fs not in bed.case.limited_on:
        return
    size = 2 * (bed.case.options.size or 64 * MIB)
    place = bed.created(size=size // 2)
    written(bed.mounted(place) / "file", 2 * MIB)
    clone = bed.clone(bed.snapshot(place), size=size)
    at = bed.mounted(clone)
    with (at / "big").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size * 5 // 8)
        with pytest.raises(OSError, match=r"No space left|quota exceeded"):
            os.posix_fallocate(file.fileno(), 0, size * 9 // 8)
    if clone.spec.sparse is False:
        assert bed.allocated(clone) >= size
        found = bed.snapshots.shares(clone)
        assert found is not None
        assert found.shared == 0


def test_a_rollback_brings_everything_back(bed: Bed) -> None:
    """Content and metadata; the volume keeps the size to which it was grown since, and the
    snapshot stays."""
    size = bed.case.options.size
    place = bed.created()
    seen = bed.mounted(place)
    furnish(seen)
    before = portrait(seen)
    snapshot = bed.snapshot(place)
    (seen / "file").write_text("spoilt")
    (seen / "link").unlink()
    seen.chmod(0o777)
    bed.unmounted(place)
    if size is not None:
        place = bed.grown(place, 2 * size)
        snapshot = replace(snapshot, within=place)
    for _ in range(2):
        bed.rolled_back(place, snapshot)
        bed.at_rest(place)
        bed.at_rest(snapshot)
        seen = bed.mounted(place)
        assert portrait(seen) == before
        if size is not None:
            assert filesystems.space(seen).size > size
        (seen / "file").write_text("spoilt again")
        bed.unmounted(place)
    assert portrait(bed.mounted(snapshot)) == before
    assert names(bed.volumes) == {place.name}


def test_a_volume_goes_back_to_what_was_built_beside_it(bed: Bed) -> None:
    """As it does where a backup is restored into it: it keeps its snapshots, wherever they lie."""
    place, beside = bed.created(), bed.created("beside")
    furnish(bed.mounted(beside))
    wanted = portrait(bed.backend.exposed(beside))
    bed.unmounted(beside)
    (bed.mounted(place) / "before").write_text("kept")
    snapshot = bed.snapshot(place)
    bed.unmounted(place)
    bed.rolled_back(place, beside)
    bed.at_rest(place)
    assert portrait(bed.mounted(place)) == wanted
    bed.unmounted(place)
    assert (bed.mounted(snapshot) / "before").read_text() == "kept"
    bed.unmounted(snapshot)
    bed.rolled_back(place, snapshot)
    assert names(bed.mounted(place)) == {"before"}


def copying(bed: Bed, place: Place, snapshot: Place, step: Step) -> None:
    bed.deleted(bed.snapshot(place, "another", step))


def cloning(bed: Bed, place: Place, snapshot: Place, step: Step) -> None:
    bed.backend.destroy(bed.clone(snapshot, step=step))


def rolling_back(bed: Bed, place: Place, snapshot: Place, step: Step) -> None:
    bed.unmounted(place)
    bed.rolled_back(place, snapshot, step)


@pytest.mark.parametrize("work", [copying, cloning, rolling_back])
def test_what_is_cancelled_leaves_nothing(bed: Bed, work: Callable[..., None]) -> None:
    """At the first word or at a later one: nothing mounted, attached or frozen, all as it was."""
    place = bed.created()
    (bed.mounted(place) / "file").write_text("before")
    snapshot = bed.snapshot(place)
    told: list[int] = []
    work(bed, place, snapshot, told.append)
    for last in (1, min(2, len(told))):
        (bed.mounted(place) / "file").write_text("now")
        with pytest.raises(Cancelled):
            work(bed, place, snapshot, cancelled_at(last))
        assert names(bed.volumes) == {place.name}
        assert names(place.home / "snapshots") == {"nightly"}
        assert (bed.mounted(place) / "file").read_text() == "now"
        assert (bed.mounted(snapshot) / "file").read_text() == "before"
        bed.unmounted(snapshot)
        bed.unmounted(place)
        bed.at_rest(place)


def cancelled_at(call: int) -> Step:
    """A step that stops the work when it is called for the nth time."""
    calls = itertools.count(1)

    def step(count: int) -> None:
        if next(calls) == call:
            raise Cancelled

    return step


def test_nested_subvolumes_are_refused_by_name(bed: Bed) -> None:
    """They would be left out without a word."""
    place = bed.created()
    seen = bed.mounted(place)
    if not btrfs.is_btrfs(seen):
        return
    (seen / "a").mkdir()
    btrfs.create_subvolume(seen / "a/nested")
    with pytest.raises(Unsupported, match=r"vol.*a/nested"):
        bed.snapshot(place)
    btrfs.delete_subvolume(seen / "a/nested")
    bed.mounted(bed.snapshot(place))


def test_data_is_read_and_written_without_a_mount(bed: Bed) -> None:
    """By those who compare or copy files: of volumes and snapshots, mounted or not."""
    place = bed.created()
    with bed.snapshots.writing(place) as folder:
        (folder / "file").write_text("written")
    snapshot = bed.snapshot(place)
    bed.at_rest(place)
    for one in (place, snapshot):
        for _ in range(2):
            with bed.snapshots.reading(one) as folder:
                assert names(folder) == {"file"}
                assert (folder / "file").read_text() == "written"
            bed.mounted(one)
    assert len(mounts.below(bed.root)) == 2
    with bed.snapshots.writing(place) as folder:
        (folder / "file").write_text("again")
    assert (bed.backend.exposed(place) / "file").read_text() == "again"
    assert (bed.backend.exposed(snapshot) / "file").read_text() == "written"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def furnish(folder: Path) -> None:
    """One of each: what a copy may forget."""
    written(folder / "file", MIB)
    os.setxattr(folder / "file", "user.colour", b"blue")
    (folder / "file").chmod(0o4751)
    os.chown(folder / "file", 7, 8)
    (folder / "file").chmod(0o4751)
    os.utime(folder / "file", ns=(10**18, 10**18 + 1))
    os.link(folder / "file", folder / "hard")
    (folder / "link").symlink_to("../../etc/passwd")
    os.mkfifo(folder / "pipe", 0o600)
    (folder / "empty").mkdir(mode=0o1777)
    with (folder / "sparse").open("wb") as file:
        file.truncate(16 * MIB)
    os.sync()


def portrait(folder: Path) -> dict[str, object]:
    """All of a tree that a user can tell."""
    found: dict[str, object] = {}
    for path in (folder, *sorted(folder.rglob("*"))):
        one = path.lstat()
        known: list[object] = [one.st_mode, one.st_uid, one.st_gid]
        if path != folder:
            known.append(one.st_mtime_ns)
        if stat.S_ISREG(one.st_mode):
            known += [one.st_nlink, path.read_bytes()]
            known += [(name, os.getxattr(path, name)) for name in os.listxattr(path)]
        elif stat.S_ISLNK(one.st_mode):
            known.append(path.readlink())
        found[str(path.relative_to(folder))] = known
    return found
