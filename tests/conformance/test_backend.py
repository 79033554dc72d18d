"""What the contract of a backend says of making, mounting and unmounting, on every filesystem.

Knows no backend by name. tests/conformance/test_suite_rejects.py shows what each test catches.
"""

import os
import stat
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from convoy_py.errors import ConvoyError, OperationFailed
from convoy_py.linux import mounts
from convoy_py.models.volume import Spec
from tests.conformance.bed import MIB, Bed, written

pytestmark = pytest.mark.root


def test_a_new_volume_is_empty(bed: Bed) -> None:
    """Docker copies an image's content only into a folder without as much as a lost+found."""
    seen = bed.mounted(bed.created())
    assert list(seen.iterdir()) == []


def test_owner_and_mode_are_as_asked(bed: Bed) -> None:
    """Setgid and all, whatever umask the daemon was started with, and after a remount too."""
    before = os.umask(0o077)
    try:
        place = bed.created(uid=1234, gid=4321, mode=0o2775)
    finally:
        os.umask(before)
    for seen in (bed.mounted(place), bed.remounted(place)):
        found = seen.stat()
        assert (found.st_uid, found.st_gid) == (1234, 4321)
        assert stat.S_IMODE(found.st_mode) == 0o2775


def test_owner_and_mode_have_defaults(bed: Bed) -> None:
    """Root's, and for everyone to read, as Docker's own volumes are."""
    found = bed.mounted(bed.created()).stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 0, 0o755)


def test_creating_leaves_nothing_mounted(bed: Bed) -> None:
    """A volume that no container uses costs no mount and no device."""
    place = bed.created()
    assert bed.backend.is_mounted(place) is False
    bed.at_rest(place)


def test_mounting_again_is_no_second_mount(bed: Bed) -> None:
    """A repeat finds it done; one unmount undoes both."""
    place = bed.created()
    assert bed.mounted(place) == bed.mounted(place)
    assert bed.backend.is_mounted(place) is True
    assert [m.mountpoint for m in mounts.below(bed.root)] == [str(place.mountpoint)]
    bed.unmounted(place)
    assert bed.backend.is_mounted(place) is False
    bed.at_rest(place)


def test_what_is_exposed_lies_in_the_mount(bed: Bed) -> None:
    """A container must never be given a folder beside the volume."""
    place = bed.created()
    seen = bed.mounted(place)
    assert seen.is_dir()
    assert seen.is_relative_to(place.mountpoint)
    assert mounts.holding(seen).mountpoint == str(place.mountpoint)


def test_what_can_be_read_without_a_mount_is_the_data(bed: Bed) -> None:
    """Where a backend names a folder, it is the one that containers write to."""
    place = bed.created()
    (bed.mounted(place) / "file").write_text("precious")
    bed.unmounted(place)
    folder = bed.backend.data(place)
    assert folder is None or (folder / "file").read_text() == "precious"


def test_no_setuid_and_no_devices(bed: Bed) -> None:
    """Whatever is put into a volume, it gives nobody rights on the host."""
    place = bed.created()
    bed.mounted(place)
    assert {"nosuid", "nodev"} <= bed.mount_options(place)


@pytest.mark.parametrize("option", ["ro", "noexec", "noatime"])
def test_mount_options_are_really_on(bed: Bed, option: str) -> None:
    """Those the user chose, beside those that are always on."""
    place = bed.created(mount_options=(option,))
    bed.mounted(place)
    assert {option, "nosuid", "nodev"} <= bed.mount_options(place)


def test_read_only_is_read_only(bed: Bed) -> None:
    """Not even root writes."""
    seen = bed.mounted(bed.created(mount_options=("ro",)))
    with pytest.raises(OSError, match="Read-only"):
        (seen / "file").touch()


def test_data_survives(bed: Bed) -> None:
    """Content, owner, mode and links are there after the volume was unmounted and mounted."""
    place = bed.created()
    seen = bed.mounted(place)
    written(seen / "file", 3 * MIB)
    content = (seen / "file").read_bytes()
    os.chown(seen / "file", 5, 6)
    (seen / "file").chmod(0o640)
    (seen / "link").symlink_to("file")
    seen = bed.remounted(place)
    assert (seen / "link").read_bytes() == content
    found = (seen / "file").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (5, 6, 0o640)
    bed.unmounted(place)
    bed.at_rest(place)


def test_unmounting_what_is_not_mounted_is_done(bed: Bed) -> None:
    """Engines send one Unmount too many."""
    place = bed.created()
    assert bed.backend.unmount(place) is True
    bed.mounted(place)
    bed.unmounted(place)
    assert bed.backend.unmount(place) is True


def test_a_busy_volume_stays_mounted(bed: Bed) -> None:
    """Unmount says that it is not done, takes nothing from the process, and works later."""
    place = bed.created()
    seen = bed.mounted(place)
    (seen / "file").write_text("before")
    process = bed.opener(seen / "file")
    assert bed.backend.unmount(place) is False
    assert bed.backend.is_mounted(place) is True
    assert (bed.backend.exposed(place) / "file").read_text() == "before"
    process.end()
    bed.unmounted(place)
    bed.at_rest(place)


def test_a_mount_of_our_own_is_no_holder(bed: Bed) -> None:
    """Or no volume could ever be removed."""
    place = bed.created()
    assert not bed.holders(place)
    bed.mounted(place)
    assert not bed.holders(place)


def test_a_leaked_mount_is_told_and_never_doubled(bed: Bed) -> None:
    """A copy in another mount namespace is named; mounting beside it is one filesystem still."""
    place = bed.created()
    (bed.mounted(place) / "file").write_text("before")
    stranger = bed.leak()
    assert str(stranger.pid) in " ".join(map(str, bed.holders(place)))
    done = bed.backend.unmount(place)
    assert bed.backend.is_mounted(place) is False
    assert done is (not bed.devices())
    assert str(stranger.pid) in " ".join(map(str, bed.holders(place)))
    held = bed.devices()
    seen = bed.mounted(place)
    assert bed.devices() == held
    (seen / "file").write_text("after")
    leaked = Path(f"/proc/{stranger.pid}/root{seen}/file")
    assert leaked.read_text() == "after"
    stranger.end()
    assert (bed.remounted(place) / "file").read_text() == "after"
    bed.unmounted(place)
    assert not bed.holders(place)
    bed.at_rest(place)


def test_a_lazy_unmount_by_others_is_noticed(bed: Bed) -> None:
    """The volume counts as unmounted; mounting it joins what is still alive in the kernel."""
    place = bed.created()
    seen = bed.mounted(place)
    (seen / "file").write_text("before")
    process = bed.opener(seen / "file")
    held = bed.devices()
    subprocess.run(["umount", "-l", place.mountpoint], check=True)
    assert bed.backend.is_mounted(place) is False
    seen = bed.mounted(place)
    assert bed.devices() == held
    (seen / "file").write_text("after")
    process.end()
    assert (bed.remounted(place) / "file").read_text() == "after"
    bed.unmounted(place)
    bed.at_rest(place)


def test_a_foreign_mount_in_our_place_is_refused(bed: Bed) -> None:
    """Nothing is mounted over it or written to it, and it is not ours to take away."""
    place = bed.created()
    bed.mounted(place)
    bed.unmounted(place)
    bed.cover(place.mountpoint)
    for refused in (bed.backend.is_mounted, bed.backend.mount, bed.backend.unmount):
        with pytest.raises(OperationFailed, match=r"vol.*mounted over"):
            refused(place)
    assert [m.fstype for m in mounts.below(bed.root)] == ["tmpfs"]
    assert list(place.mountpoint.iterdir()) == []
    subprocess.run(["umount", place.mountpoint], check=True)
    assert list(bed.mounted(place).iterdir()) == []


def test_a_foreign_mount_over_ours_is_refused(bed: Bed) -> None:
    """Containers would be given something else than the volume."""
    place = bed.created()
    (bed.mounted(place) / "file").write_text("ours")
    bed.cover(place.mountpoint)
    with pytest.raises(OperationFailed, match=r"vol.*mounted over"):
        bed.backend.mount(place)
    subprocess.run(["umount", place.mountpoint], check=True)
    assert (bed.mounted(place) / "file").read_text() == "ours"


@pytest.mark.parametrize("call", ["fsync", "chown", "fchown", "chmod", "mkdir", "ftruncate"])
def test_a_create_that_failed_leaves_nothing(
    bed: Bed, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it was interrupted by a full disk; the next one succeeds in the same place."""
    place = bed.staged()
    with _failing(monkeypatch, call) as hits:
        try:
            bed.backend.create(place)
        except (OSError, ConvoyError):
            assert hits
        else:
            assert not hits  # this backend makes no such call
    bed.abandoned(place)
    bed.at_rest()
    assert list(bed.volumes.iterdir()) == []
    assert list(bed.mounted(bed.created()).iterdir()) == []


@contextmanager
def _failing(monkeypatch: pytest.MonkeyPatch, call: str) -> Iterator[list[object]]:
    """While inside, a function of os fails with ENOSPC; yields what it was called with."""
    hits: list[object] = []

    def fail(*args: object, **_: object) -> None:
        hits.append(args)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        yield hits


def test_missing_tools_are_told(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A create that needs a program says which package it is in, and leaves nothing."""
    place = bed.staged()
    monkeypatch.setattr("convoy_py.linux.process._PATH", "/nonexistent")
    told = ""
    try:
        bed.backend.create(place)
    except (OSError, ConvoyError) as error:
        told = str(error)
    assert told == "" or "it is in the package" in told
    bed.abandoned(place)
    bed.at_rest()


def test_what_a_crash_left_is_taken_down(bed: Bed) -> None:
    """A half-made volume of which only the folder's name is known loses mount and device."""
    place = bed.staged()
    place = replace(place, spec=bed.backend.create(place))
    bed.mounted(place)
    bed.abandoned(replace(place, uuid="", spec=Spec(backend="")))
    bed.at_rest()
    assert not place.home.exists()


def test_abandoning_twice_is_done(bed: Bed) -> None:
    """And abandoning what was never begun."""
    place = bed.staged()
    bed.backend.abandon(place)
    bed.backend.abandon(place)
    bed.abandoned(place)
    bed.abandoned(place)


def test_volumes_do_not_disturb_each_other(bed: Bed) -> None:
    """Calls for different volumes overlap; every one has its own data in the end."""

    def life(name: str) -> str:
        place = bed.created(name)
        (bed.mounted(place) / "file").write_text(name)
        content = (bed.remounted(place) / "file").read_text()
        bed.unmounted(place)
        bed.backend.destroy(place)
        return content

    names = [f"vol{number}" for number in range(4)]
    with ThreadPoolExecutor(len(names)) as pool:
        assert list(pool.map(life, names)) == names
    bed.at_rest()
