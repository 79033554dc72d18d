"""The suite is worth something: backends broken on purpose fail the test that is meant for it."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from convoy_py.backends.base import Place
from convoy_py.backends.directory import Directory
from convoy_py.backends.loopback import Loopback
from convoy_py.linux import loop, mounts
from convoy_py.linux.holders import Census, Holder
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import Options, Spec, Usage
from tests.conformance import test_backend as life
from tests.conformance import test_backend_data as data
from tests.conformance.bed import MIB, Bed, Case, Host

pytestmark = pytest.mark.root


class MountsNothing(Directory):
    def mount(self, place: Place) -> None:
        return


class StacksMounts(Directory):
    def mount(self, place: Place) -> None:
        mounts.bind(place.home / "data", place.mountpoint, ("nosuid", "nodev"))


class MountsWithoutFlags(Directory):
    def mount(self, place: Place) -> None:
        if not self.is_mounted(place):
            mounts.bind(place.home / "data", place.mountpoint, ())


class MountsACopy(Directory):
    """What is written does not reach the volume."""

    def mount(self, place: Place) -> None:
        if not self.is_mounted(place):
            subprocess.run(["mount", "-t", "tmpfs", "copy", place.mountpoint], check=True)

    def is_mounted(self, place: Place) -> bool:
        return mounts.find(place.mountpoint) is not None


class UnmountsLazily(Directory):
    def unmount(self, place: Place) -> bool:
        subprocess.run(["umount", "-l", place.mountpoint], check=False)
        return True


class UnmountsNothing(Directory):
    def unmount(self, place: Place) -> bool:
        return True


class UnmountsOnlyOnce(Directory):
    def unmount(self, place: Place) -> bool:
        mounts.unmount(place.mountpoint)
        return True


class TakesForeignMountsAway(Directory):
    def unmount(self, place: Place) -> bool:
        while mounts.find(place.mountpoint) is not None:
            mounts.unmount(place.mountpoint)
        return True


class TakesForeignMountsForOurs(Directory):
    def is_mounted(self, place: Place) -> bool:
        return mounts.find(place.mountpoint) is not None


class AlwaysMounted(Directory):
    def is_mounted(self, place: Place) -> bool:
        return True


class RemembersMounts(Directory):
    """Believes its memory instead of the kernel."""

    mounted = False

    def is_mounted(self, place: Place) -> bool:
        return self.mounted

    def mount(self, place: Place) -> None:
        if not self.mounted:
            super().mount(place)
        self.mounted = True


class LeavesLostFound(Directory):
    def create(self, place: Place) -> Spec:
        spec = super().create(place)
        (place.home / "data/lost+found").mkdir()
        return spec


class ForgetsTheMode(Directory):
    def create(self, place: Place) -> Spec:
        spec = super().create(place)
        (place.home / "data").chmod(0o755)
        return spec


class StaysMountedAfterCreate(Directory):
    def create(self, place: Place) -> Spec:
        spec = super().create(place)
        place.mountpoint.mkdir(parents=True)
        mounts.bind(place.home / "data", place.mountpoint, ())
        return spec


class ExposesTheFolderBeside(Directory):
    def exposed(self, place: Place) -> Path:
        return place.home / "data"


class AbandonsNothing(Directory):
    def abandon(self, place: Place) -> None:
        return


class SeesNoHolders(Directory):
    def holders(self, place: Place, census: Census) -> Sequence[Holder]:
        return []


class HoldsItself(Directory):
    def holders(self, place: Place, census: Census) -> Sequence[Holder]:
        return [Holder(1, "init", None, str(place.mountpoint))]


class DestroysNothing(Directory):
    def destroy(self, place: Place) -> None:
        return


class DestroysThroughLinks(Directory):
    def destroy(self, place: Place) -> None:
        for path in (place.home / "data").rglob("*"):
            if path.is_symlink() and path.is_file():
                path.resolve().unlink()
        super().destroy(place)


class DestroysThroughMounts(Directory):
    def destroy(self, place: Place) -> None:
        shutil.rmtree(place.home, ignore_errors=True)
        raise OSError("it could not be deleted whole")


class AdoptsAnything(Directory):
    def adopt(self, place: Place, options: Options) -> Spec:
        return place.spec


class ChecksNothing(Directory):
    def check(self, place: Place) -> None:
        return


class MeasuresNothing(Directory):
    def usage(self, place: Place, now: float) -> Usage:
        return Usage(used=0, allocated=0, available=1, sampled=now)


class PromisesAnySize(Directory):
    def resolve(self, options: Options) -> Spec:
        spec = super().resolve(options.model_copy(update={"size": None}))
        return spec.model_copy(update={"size": options.size})


class AttachesTwice(Loopback):
    """As plugins do that attach the image at each mount: two live filesystems on one image."""

    def mount(self, place: Place) -> None:
        if self.is_mounted(place):
            return
        argv = ["losetup", "-f", "--show", str(place.home / "image")]
        device = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
        mounts.mount(device, place.mountpoint, str(place.spec.fs), ())
        subprocess.run(["losetup", "-d", device], check=True)

    def is_mounted(self, place: Place) -> bool:
        return mounts.find(place.mountpoint) is not None


class LeaksDevices(Loopback):
    def unmount(self, place: Place) -> bool:
        for attached in loop.find(place.home / "image"):
            with (place.home / "image").open("rb") as file:
                loop.reopen(attached.device, file.fileno())  # nobody will close it
        super().unmount(place)
        return True


class ForgetsTheReservation(Loopback):
    def create(self, place: Place) -> Spec:
        super().create(place)
        subprocess.run(["fallocate", "--dig-holes", place.home / "image"], check=True)
        return place.spec


class KeepsDeletedBlocks(Loopback):
    def mount(self, place: Place) -> None:
        super().mount(place)
        for attached in loop.find(place.home / "image"):
            loop.forbid_discard(attached.device)


class RoundsTheBounds(Loopback):
    def resolve(self, options: Options) -> Spec:
        size = max(16 * MIB, options.size or 0)
        return super().resolve(options.model_copy(update={"size": size}))


@dataclass(frozen=True)
class Broken:
    """A backend, the test that must fail for it, with that test's own parameters, and how."""

    backend: type[Directory] | type[Loopback]
    test: Callable[..., None]
    parameters: tuple[object, ...] = ()
    sparse: bool = True
    fs: Filesystem = Filesystem.EXT4
    by: type[Exception] = AssertionError  # where a file that should be there is missed at once


SIZES = {Filesystem.EXT4: 64 * MIB, Filesystem.BTRFS: 176 * MIB}

BROKEN = [
    Broken(MountsNothing, life.test_mounting_again_is_no_second_mount),
    Broken(MountsNothing, life.test_what_is_exposed_lies_in_the_mount),
    Broken(StacksMounts, life.test_mounting_again_is_no_second_mount),
    Broken(StacksMounts, life.test_mount_options_are_really_on, ("noexec",)),
    Broken(StacksMounts, life.test_read_only_is_read_only),
    Broken(MountsWithoutFlags, life.test_no_setuid_and_no_devices),
    Broken(MountsACopy, life.test_data_survives, by=FileNotFoundError),
    Broken(UnmountsLazily, life.test_a_busy_volume_stays_mounted),
    Broken(UnmountsNothing, life.test_mounting_again_is_no_second_mount),
    Broken(
        UnmountsOnlyOnce, life.test_unmounting_what_is_not_mounted_is_done, by=FileNotFoundError
    ),
    Broken(TakesForeignMountsAway, life.test_a_foreign_mount_in_our_place_is_refused),
    Broken(TakesForeignMountsForOurs, life.test_a_foreign_mount_in_our_place_is_refused),
    Broken(TakesForeignMountsForOurs, life.test_a_foreign_mount_over_ours_is_refused),
    Broken(AlwaysMounted, life.test_creating_leaves_nothing_mounted),
    Broken(RemembersMounts, life.test_a_lazy_unmount_by_others_is_noticed),
    Broken(LeavesLostFound, life.test_a_new_volume_is_empty),
    Broken(ForgetsTheMode, life.test_owner_and_mode_are_as_asked),
    Broken(StaysMountedAfterCreate, life.test_creating_leaves_nothing_mounted),
    Broken(ExposesTheFolderBeside, life.test_what_is_exposed_lies_in_the_mount),
    Broken(AbandonsNothing, life.test_what_a_crash_left_is_taken_down),
    Broken(SeesNoHolders, life.test_a_leaked_mount_is_told_and_never_doubled),
    Broken(HoldsItself, life.test_a_mount_of_our_own_is_no_holder),
    Broken(DestroysNothing, data.test_destroying_leaves_nothing_and_touches_nothing_else),
    Broken(
        DestroysThroughLinks,
        data.test_destroying_leaves_nothing_and_touches_nothing_else,
        by=FileNotFoundError,
    ),
    Broken(
        DestroysThroughMounts,
        data.test_what_is_mounted_below_is_never_destroyed,
        by=FileNotFoundError,
    ),
    Broken(AdoptsAnything, data.test_adopting_with_other_options_is_refused),
    Broken(AdoptsAnything, data.test_nothing_is_adopted_where_nothing_is),
    Broken(AdoptsAnything, data.test_rubbish_is_not_adopted),
    Broken(ChecksNothing, data.test_damage_is_told_and_never_mounted, (data.lose,)),
    Broken(MeasuresNothing, data.test_usage_follows_what_is_written),
    Broken(PromisesAnySize, data.test_the_size_is_a_hard_limit_or_refused),
    Broken(AttachesTwice, life.test_a_leaked_mount_is_told_and_never_doubled),
    Broken(LeaksDevices, life.test_mounting_again_is_no_second_mount),
    Broken(ForgetsTheReservation, data.test_a_reserved_volume_has_its_blocks, sparse=False),
    Broken(KeepsDeletedBlocks, data.test_deleted_data_gives_its_space_back),
    Broken(RoundsTheBounds, data.test_impossible_sizes_name_the_bounds),
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda b: f"{b.backend.__name__}-{b.test.__name__}")
def test_a_broken_backend_is_rejected(broken: Broken, tmp_path: Path) -> None:
    """By what the suite asserts, and not by an accident on the way to it."""
    reject(broken, tmp_path)


def reject(broken: Broken, tmp_path: Path) -> None:
    fs = mounts.holding(tmp_path).fstype
    with ExitStack() as stack:
        # What a broken backend leaves is waited for in vain.
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr("tests.conformance.bed.PATIENCE", 1.0)
        bed = stack.enter_context(closing(Bed(Host(tmp_path, fs), _case(broken))))
        stack.enter_context(pytest.raises((broken.by, pytest.fail.Exception)))
        broken.test(bed, *broken.parameters)


def _case(broken: Broken) -> Case:
    if issubclass(broken.backend, Directory):
        folder = broken.backend
        return Case("broken", lambda s: folder(s.root), "data", limited_on=frozenset({"btrfs"}))
    image = broken.backend
    return Case(
        "broken",
        lambda s: image(s.root, s.default_size, s.default_fs),
        "image",
        Options(fs=broken.fs, size=SIZES[broken.fs], sparse=broken.sparse),
        frozenset({"ext4", "xfs", "btrfs"}),
    )
