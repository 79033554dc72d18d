"""What the contract of a backend says of space, damage, adoption and deletion."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace

import pytest

from convoy_py.backends.base import Place
from convoy_py.errors import Conflict, ConvoyError, Corrupt, Invalid, NotFound, Unsupported
from convoy_py.linux import btrfs, mounts
from convoy_py.models.sizes import parse_size
from convoy_py.models.volume import Options, Spec
from tests.conformance.bed import MIB, Bed, written

pytestmark = pytest.mark.root

NOW = 1_767_323_045.0


# Space


def test_usage_follows_what_is_written(bed: Bed) -> None:
    """What is used and what the host gave for it grow with the data; the sample has its time."""
    place = bed.created()
    seen = bed.mounted(place)
    bed.flush(place)
    before = bed.backend.usage(place, NOW)
    written(seen / "file", 8 * MIB)
    bed.flush(place)
    after = bed.backend.usage(place, NOW)
    assert before.sampled == after.sampled == NOW
    assert _least(after.used) - _least(before.used) >= 8 * MIB
    if place.spec.sparse is not False:
        assert _least(after.allocated) - _least(before.allocated) >= 7 * MIB
    assert _least(after.available) > 0


def test_usage_of_an_unmounted_volume_is_known_too(bed: Bed) -> None:
    """As far as it can be told without mounting it."""
    place = bed.created()
    written(bed.mounted(place) / "file", 8 * MIB)
    bed.unmounted(place)
    assert _least(bed.backend.usage(place, NOW).allocated) >= 8 * MIB
    bed.at_rest(place)


def test_deleted_data_gives_its_space_back(bed: Bed) -> None:
    """A sparse volume shrinks on the host; a reserved one keeps every block it was promised."""
    place = bed.created()
    seen = bed.mounted(place)
    written(seen / "file", 16 * MIB)
    bed.flush(place)
    full = _least(bed.backend.usage(place, NOW).allocated)
    (seen / "file").unlink()
    bed.remounted(place)  # what filesystems do in the background is done then
    subprocess.run(["fstrim", place.mountpoint], check=False, capture_output=True)
    bed.flush(place)
    empty = _least(bed.backend.usage(place, NOW).allocated)
    if place.spec.sparse is False:
        assert full == empty
        assert full >= _least(place.spec.size)
    else:
        assert full - empty >= 12 * MIB


def test_a_reserved_volume_has_its_blocks(bed: Bed) -> None:
    """From the start, not when data comes."""
    place = bed.created()
    if place.spec.sparse is False:
        assert bed.data(place).stat().st_blocks * 512 >= _least(place.spec.size)
    assert bed.backend.promised(place.spec) in (0, place.spec.size)


def test_the_size_is_a_hard_limit_or_refused(bed: Bed) -> None:
    """Where the host cannot enforce a size, the volume is refused with the reason."""
    size = bed.case.options.size or 64 * MIB
    if bed.host.fs not in bed.case.limited_on:
        with pytest.raises(Unsupported, match=r"size .* \(.+\)"):
            bed.resolved(Options(size=size))
        return
    seen = bed.mounted(bed.created(size=size))
    written(seen / "small", 4 * MIB)
    with (
        pytest.raises(OSError, match=r"No space left|quota exceeded"),
        (seen / "big").open("wb") as f,
    ):
        os.posix_fallocate(f.fileno(), 0, size)
    assert (seen / "small").stat().st_size == 4 * MIB


def test_impossible_sizes_name_the_bounds(bed: Bed) -> None:
    """The bounds in the message are exact: both of them are possible, and nothing beyond."""
    if bed.host.fs not in bed.case.limited_on:
        return
    resolve = bed.backend.resolve
    with pytest.raises(Invalid) as refused:
        resolve(bed.case.options.model_copy(update={"size": 1}))
    bounds = re.search(r"outside of (\w+) to (\w+)", str(refused.value))
    assert bounds
    smallest, largest = map(parse_size, bounds.groups())
    for size in (smallest, largest):
        assert resolve(bed.case.options.model_copy(update={"size": size})).size == size
    for size in (0, smallest - 1, largest + 1):
        with pytest.raises(Invalid):
            resolve(bed.case.options.model_copy(update={"size": size}))


def test_a_smallest_volume_holds_data(bed: Bed) -> None:
    """The smallest size is one of which something is left for the user."""
    if bed.host.fs not in bed.case.limited_on:
        return
    with pytest.raises(Invalid) as refused:
        bed.backend.resolve(bed.case.options.model_copy(update={"size": 1}))
    bounds = re.search(r"outside of (\w+) to ", str(refused.value))
    assert bounds
    place = bed.created(size=parse_size(bounds[1]))
    written(bed.mounted(place) / "file", MIB // 4)


# Damage


def test_a_sound_volume_passes_the_check(bed: Bed) -> None:
    """Mounted or not."""
    place = bed.created()
    bed.backend.check(place)
    bed.mounted(place)
    bed.backend.check(place)


def lose(bed: Bed, place: Place) -> None:
    data = bed.data(place)
    data.unlink() if data.is_file() else shutil.rmtree(data)


def cut(bed: Bed, place: Place) -> None:
    """Take the end of a file; put a file in the place of a folder."""
    data = bed.data(place)
    if data.is_file():
        os.truncate(data, data.stat().st_size - 4096)
    else:
        shutil.rmtree(data)
        data.touch()


@pytest.mark.parametrize("harm", [lose, cut])
def test_damage_is_told_and_never_mounted(bed: Bed, harm: Callable[[Bed, Place], None]) -> None:
    """Missing and truncated data is an error that names the volume, and nothing is left behind."""
    place = bed.created()
    harm(bed, place)
    for refused in (bed.backend.check, bed.mounted):
        with pytest.raises(Corrupt, match="vol"):
            refused(place)
    assert mounts.below(bed.root) == []
    bed.detached()


def test_data_deleted_under_a_mount_can_be_unmounted(bed: Bed) -> None:
    """The volume is still the one that is mounted; it goes with the unmount, device and all."""
    place = bed.created()
    bed.mounted(place)
    lose(bed, place)
    assert bed.backend.is_mounted(place) is True
    with pytest.raises(Corrupt):
        bed.backend.check(place)
    bed.unmounted(place)
    assert mounts.below(bed.root) == []
    bed.detached()


# Adoption


@pytest.mark.parametrize("remembered", [True, False])
def test_what_stands_there_is_adopted(bed: Bed, remembered: bool) -> None:
    """With the record of before or without: the data, its owner and its mode are as they were."""
    place = bed.created(uid=7, gid=8, mode=0o750)
    (bed.mounted(place) / "file").write_text("kept")
    bed.unmounted(place)
    found = replace(place, uuid="0" * 32)
    if not remembered:
        found = replace(found, spec=Spec(backend=place.spec.backend))
    found = replace(found, spec=bed.backend.adopt(found, Options()))
    bed.at_rest(found)
    assert found.spec.size == place.spec.size
    assert found.spec.sparse == place.spec.sparse
    seen = bed.mounted(found)
    assert (seen / "file").read_text() == "kept"
    assert (seen.stat().st_uid, seen.stat().st_gid, seen.stat().st_mode & 0o7777) == (7, 8, 0o750)


def test_adopting_with_other_options_is_refused(bed: Bed) -> None:
    """It says which differ, and changes nothing; an option that is true is fine."""
    place = bed.created(mode=0o750)
    wrong = Options(mode=0o700) if place.spec.size is None else Options(size=12345678)
    with pytest.raises(Conflict, match=r"vol.*(mode|size) is .*, asked "):
        bed.backend.adopt(place, wrong)
    assert bed.backend.adopt(place, Options(mode=0o750)).mode == 0o750
    bed.at_rest(place)


def test_nothing_is_adopted_where_nothing_is(bed: Bed) -> None:
    """An error that names the place where it was looked for."""
    place = bed.created()
    lose(bed, place)
    with pytest.raises(NotFound, match=re.escape(str(bed.data(place)))):
        bed.backend.adopt(place, Options())


def test_rubbish_is_not_adopted(bed: Bed) -> None:
    """A file of noise, or a link to somewhere else."""
    place = bed.created()
    lose(bed, place)
    bed.data(place).write_bytes(os.urandom(128 * 1024))
    with pytest.raises(ConvoyError, match="vol"):
        bed.backend.adopt(place, Options())
    bed.data(place).unlink()
    bed.data(place).symlink_to("/etc")
    with pytest.raises(ConvoyError, match="vol"):
        bed.backend.adopt(place, Options())
    bed.detached()


# Deletion


def test_destroying_leaves_nothing_and_touches_nothing_else(bed: Bed) -> None:
    """Deep trees, links that lead outside, and subvolumes where the filesystem has them."""
    outside = bed.root / "outside"
    outside.mkdir()
    (outside / "precious").write_text("untouched")
    place = bed.created()
    seen = bed.mounted(place)
    deep = seen / "/".join("abcdefghijklmnop")
    deep.mkdir(parents=True)
    (deep / "file").touch(mode=0o000)
    (deep / "link").symlink_to(outside)
    (seen / "link").symlink_to(outside / "precious")
    if btrfs.is_btrfs(seen):
        btrfs.create_subvolume(deep / "subvolume")
        (deep / "subvolume" / "file").touch()
    bed.unmounted(place)
    bed.backend.destroy(place)
    assert not place.home.exists()
    assert (outside / "precious").read_text() == "untouched"
    bed.at_rest()


def test_destroying_twice_is_done(bed: Bed) -> None:
    """A deletion that was interrupted is begun again."""
    place = bed.created()
    bed.backend.destroy(place)
    bed.backend.destroy(place)


def test_what_is_mounted_below_is_never_destroyed(bed: Bed) -> None:
    """An administrator's mount in the volume's folder stops the deletion, with its data intact."""
    place = bed.created()
    below = place.home / "below"
    below.mkdir()
    bed.cover(below)
    (below / "precious").write_text("untouched")
    with pytest.raises((OSError, ConvoyError)):
        bed.backend.destroy(place)
    assert (below / "precious").read_text() == "untouched"
    assert bed.data(place).exists()
    subprocess.run(["umount", below], check=True)
    bed.backend.destroy(place)
    assert not place.home.exists()


def test_facts_are_told(bed: Bed) -> None:
    """Lines for `convoy info`, whatever the host's filesystem."""
    facts = bed.backend.facts()
    assert facts
    assert all(value and "\n" not in value for value in facts.values())


def _least(figure: int | None) -> int:
    assert figure is not None
    return figure
