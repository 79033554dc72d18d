"""The suites of the powers are worth something: what is broken on purpose fails the right test."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from convoy_py.backends.base import Place
from convoy_py.backends.directory import Directory
from convoy_py.backends.loopback import Loopback
from convoy_py.errors import Corrupt
from convoy_py.linux import btrfs, loop, mounts
from convoy_py.linux.extents import Shares
from convoy_py.linux.holders import Census, Holder
from convoy_py.linux.reflink import Step
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.snapshot import Plan, Way
from convoy_py.models.volume import Spec
from tests.conformance import test_imageable as files
from tests.conformance import test_resizable as sizes
from tests.conformance import test_snapshots as copies
from tests.conformance.bed import uncounted
from tests.conformance.test_suite_rejects import Broken, reject

pytestmark = pytest.mark.root

BTRFS = Filesystem.BTRFS


class LinksItsFiles(Directory):
    """What changes in the volume changes in its snapshots and clones too."""

    def copy(self, source: Place, target: Place, step: Step) -> None:
        subprocess.run(["cp", "-al", source.home / "data", target.home / "data"], check=True)


class ForgetsMetadata(Directory):
    def copy(self, source: Place, target: Place, step: Step) -> None:
        subprocess.run(["cp", "-r", source.home / "data", target.home / "data"], check=True)


class ShowsSnapshotsInTheData(Directory):
    def finish(self, source: Place, target: Place, step: Step) -> Spec:
        (source.home / "data/.snapshots").mkdir()
        return super().finish(source, target, step)


class SnapshotsForWriting(Directory):
    def mount(self, place: Place) -> None:
        if not self.is_mounted(place):
            mounts.bind(place.home / "data", place.mountpoint, ("nosuid", "nodev"))


class PromisesAnInstant(Directory):
    def plan(self, place: Place, *, clone: bool = False) -> Plan:
        return Plan(way=Way.SUBVOLUME, instant=True)


class RollsBackNothing(Directory):
    def rollback(self, place: Place, snapshot: Place, staged: Place, step: Step) -> None:
        return


class RollsBackTheSizeToo(Loopback):
    def rollback(self, place: Place, snapshot: Place, staged: Place, step: Step) -> None:
        shutil.copy(snapshot.home / "image", place.home / "image")


class CannotBeStopped(Loopback):
    def copy(self, source: Place, target: Place, step: Step) -> None:
        super().copy(source, target, uncounted)


class StaysMountedWhenCancelled(Loopback):
    def copy(self, source: Place, target: Place, step: Step) -> None:
        target.mountpoint.with_name("mine").mkdir(exist_ok=True)
        mounts.mount("tmpfs", target.mountpoint.with_name("mine"), "tmpfs", ())
        super().copy(source, target, step)
        mounts.unmount(target.mountpoint.with_name("mine"))


class LeavesNestedSubvolumesOut(Loopback):
    def copy(self, source: Place, target: Place, step: Step) -> None:
        top = source.mountpoint
        (top / "snapshots").mkdir(exist_ok=True)
        btrfs.snapshot(top / "data", top / "snapshots" / target.uuid, read_only=True)


class ForgetsWhatLiesInside(Loopback):
    def withdraw(self, snapshot: Place) -> None:
        return


class TakesSnapshotsForTheVolume(Loopback):
    """One device, so one volume."""

    def holders(self, place: Place, census: Census) -> Sequence[Holder]:
        found = loop.find((place.within or place).home / "image")
        return [h for a in found for h in census.of_device(a.device.path, place.mountpoint)]


class WaitsForSnapshots(Loopback):
    def unmount(self, place: Place) -> bool:
        return super().unmount(place) and not loop.find((place.within or place).home / "image")


class ClonesNoLimit(Loopback):
    def finish(self, source: Place, target: Place, step: Step) -> Spec:
        spec = target.spec.model_copy(update={"size": source.spec.size})
        return super().finish(source, replace(target, spec=spec), step)


class SharesWhatWasReserved(Loopback):
    def shares(self, place: Place) -> Shares | None:
        return Shares(allocated=1, shared=1)


class GrowsOnlyTheFile(Loopback):
    def grow(self, place: Place) -> bool:
        os.truncate(place.home / "image", place.spec.size or 0)
        return True


class NeverCompletes(Loopback):
    def mount(self, place: Place) -> None:
        super().mount(replace(place, spec=place.spec.model_copy(update={"grows_from": None})))

    def check(self, place: Place) -> None:
        return


class ChecksOnlyThereIsAnImage(Loopback):
    def check(self, place: Place) -> None:
        (place.home / "image").stat()


class Shrinks(Loopback):
    def resized(self, spec: Spec, size: int) -> Spec:
        return spec.model_copy(update={"size": size, "grows_from": spec.size})


class TakesAnyImage(Loopback):
    def take_image(self, place: Place) -> Spec:
        return place.spec


class MountsFirst(Loopback):
    def take_image(self, place: Place) -> Spec:
        with self.reading(place):
            return super().take_image(place)


class KeepsTheSizeOfTheImage(Loopback):
    def take_image(self, place: Place) -> Spec:
        size = (place.home / "image").stat().st_size
        return super().take_image(replace(place, spec=place.spec.model_copy(update={"size": size})))


class SuitsAnything(Loopback):
    def suits(self, made: Spec, spec: Spec) -> None:
        return


class HandsTheVolumeOut(Loopback):
    def image(self, place: Place) -> Path | None:
        return super().image(place.within or place)


class KeepsTheirIdentity(Loopback):
    def take_image(self, place: Place) -> Spec:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("convoy_py.linux.filesystems.new_identity", lambda *_: None)
            return super().take_image(place)


class TrimsNothing(Loopback):
    def trim(self, place: Place) -> int:
        return 1


BROKEN = [
    Broken(LinksItsFiles, copies.test_a_snapshot_is_what_was_acknowledged_before_it),
    Broken(LinksItsFiles, copies.test_a_clone_is_a_volume_of_its_own),
    Broken(ForgetsMetadata, copies.test_all_of_a_file_is_kept),
    Broken(ShowsSnapshotsInTheData, copies.test_a_snapshot_is_what_was_acknowledged_before_it),
    Broken(SnapshotsForWriting, copies.test_a_snapshot_is_read_only),
    Broken(PromisesAnInstant, copies.test_the_plan_comes_true),
    Broken(RollsBackNothing, copies.test_a_rollback_brings_everything_back),
    Broken(RollsBackTheSizeToo, copies.test_a_rollback_brings_everything_back, by=Corrupt),
    Broken(CannotBeStopped, copies.test_what_is_cancelled_leaves_nothing, (copies.copying,)),
    Broken(
        StaysMountedWhenCancelled, copies.test_what_is_cancelled_leaves_nothing, (copies.copying,)
    ),
    Broken(LeavesNestedSubvolumesOut, copies.test_nested_subvolumes_are_refused_by_name, fs=BTRFS),
    Broken(ForgetsWhatLiesInside, copies.test_deleting_a_snapshot_leaves_nothing_of_it, fs=BTRFS),
    Broken(TakesSnapshotsForTheVolume, copies.test_holders_of_one_are_not_the_others, fs=BTRFS),
    Broken(WaitsForSnapshots, copies.test_volume_and_snapshots_are_mounted_apart, fs=BTRFS),
    Broken(ClonesNoLimit, copies.test_a_clone_has_a_limit_of_its_own, by=OSError),
    Broken(SharesWhatWasReserved, copies.test_a_clone_has_a_limit_of_its_own, sparse=False),
    Broken(SharesWhatWasReserved, copies.test_what_is_shared_is_told),
    Broken(GrowsOnlyTheFile, sizes.test_a_mounted_volume_grows_or_says_when),
    Broken(GrowsOnlyTheFile, sizes.test_a_volume_grows_while_nobody_uses_it),
    Broken(
        NeverCompletes,
        sizes.test_growing_that_was_cut_off_is_completed_by_the_mount,
        (1.0,),
    ),
    Broken(ChecksOnlyThereIsAnImage, sizes.test_an_image_of_another_size_is_damaged),
    Broken(Shrinks, sizes.test_sizes_that_cannot_be_are_refused_with_the_way_around),
    Broken(
        TakesAnyImage,
        files.test_a_damaged_image_is_refused_before_it_is_mounted,
        (files.spoilt,),
    ),
    Broken(
        TakesAnyImage, files.test_an_image_of_another_filesystem_is_refused_before_it_is_mounted
    ),
    Broken(
        MountsFirst,
        files.test_a_damaged_image_is_refused_before_it_is_mounted,
        (files.spoilt,),
    ),
    Broken(KeepsTheSizeOfTheImage, files.test_an_image_becomes_a_larger_volume),
    Broken(SuitsAnything, files.test_what_an_image_cannot_become_is_refused),
    Broken(HandsTheVolumeOut, files.test_a_snapshot_has_an_image_of_its_own_or_none),
    Broken(
        KeepsTheirIdentity,
        files.test_an_image_becomes_a_volume_beside_the_one_that_it_is_of,
        fs=BTRFS,
    ),
    Broken(TrimsNothing, sizes.test_trimming_gives_free_blocks_back),
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda b: f"{b.backend.__name__}-{b.test.__name__}")
def test_a_broken_power_is_rejected(broken: Broken, tmp_path: Path) -> None:
    """By what the suite asserts, and not by an accident on the way to it."""
    reject(broken, tmp_path)
