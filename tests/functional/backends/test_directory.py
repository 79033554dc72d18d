"""What only directory volumes can meet: folders of the user's choice, and a host without quotas."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from convoy_py.backends import BACKENDS
from convoy_py.backends.directory import Directory
from convoy_py.errors import ConvoyError, InvalidOption, Unsupported
from convoy_py.linux import mounts
from convoy_py.models.volume import Options
from convoy_py.settings import Settings
from tests.conformance.bed import MIB, Bed, Case
from tests.functional.backends.conftest import MakeBed

pytestmark = pytest.mark.root


def test_a_folder_of_the_users_is_served_and_never_deleted(folders: Bed, allowed: Path) -> None:
    """What is in it is there before, during and after the volume."""
    data = allowed / "data"
    data.mkdir(mode=0o711)
    os.chown(data, 5, 6)
    (data / "file").write_text("mine")
    place = folders.created(path=str(data))
    seen = folders.mounted(place)
    assert (seen / "file").read_text() == "mine"
    assert (seen.stat().st_uid, seen.stat().st_mode & 0o7777) == (5, 0o711)
    assert {"nosuid", "nodev"} <= folders.mount_options(place)
    folders.unmounted(place)
    folders.backend.destroy(place)
    assert not place.home.exists()
    assert (data / "file").read_text() == "mine"


def test_owner_and_mode_change_only_where_asked(folders: Bed, allowed: Path) -> None:
    """And a missing folder is made."""
    place = folders.created(path=str(allowed / "new"), mode=0o700)
    found = folders.mounted(place).stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (0, 0, 0o700)


@pytest.mark.parametrize("path", ["/etc", "/", "{allowed}-not", "{allowed}/../etc"])
def test_paths_that_are_not_allowed_are_refused(folders: Bed, allowed: Path, path: str) -> None:
    """It says what is allowed."""
    with pytest.raises(Unsupported, match=rf"setting allowed_paths: {allowed}\)"):
        folders.backend.resolve(Options(path=path.format(allowed=allowed)))


def test_a_link_leads_out_of_nothing(folders: Bed, allowed: Path, tmp_path: Path) -> None:
    """Neither one that is there at create, nor one that was put in its place afterwards."""
    (allowed / "link").symlink_to(tmp_path)
    with pytest.raises(Unsupported, match="does not lie below"):
        folders.backend.resolve(Options(path=str(allowed / "link")))
    place = folders.created(path=str(allowed / "data"))
    (allowed / "data").rmdir()
    (allowed / "data").symlink_to("/etc")
    with pytest.raises(ConvoyError):
        folders.mounted(place)
    assert mounts.below(folders.root) == []


def test_a_path_can_be_adopted(folders: Bed, allowed: Path) -> None:
    """Forgetting the volume and taking it up again changes nothing in it."""
    place = folders.created(path=str(allowed / "data"))
    (allowed / "data/file").write_text("mine")
    spec = folders.backend.adopt(place, Options())
    assert spec.path == str(allowed / "data")
    seen = folders.mounted(replace(place, spec=spec))
    assert (seen / "file").read_text() == "mine"


def test_mount_options_of_images_are_refused(folders: Bed) -> None:
    """They are a whole filesystem's, and that is the host's."""
    for option in ("sync", "lazytime"):
        with pytest.raises(InvalidOption, match=f"mount option {option} needs a filesystem"):
            folders.backend.resolve(Options(mount_options=(option,)))


def test_a_size_is_not_for_paths(folders: Bed, allowed: Path) -> None:
    """A quota would reach what is there already."""
    with pytest.raises(Unsupported, match="size"):
        folders.backend.resolve(Options(path=str(allowed / "data"), size=2**30))


def test_writes_reach_the_hosts_folder(folders: Bed) -> None:
    """The data path costs nothing: it is the very same file."""
    place = folders.created()
    (folders.mounted(place) / "file").touch()
    inside = (place.mountpoint / "file").stat()
    outside = (folders.data(place) / "file").stat()
    assert (inside.st_dev, inside.st_ino) == (outside.st_dev, outside.st_ino)


def test_nobody_leads_a_create_out_of_the_allowed_folder(
    folders: Bed, allowed: Path, tmp_path: Path
) -> None:
    """A process that swaps the parent for a link, again and again, has nothing outside changed."""
    outside = tmp_path / "outside"
    (outside / "data").mkdir(parents=True)
    (allowed / "parent/data").mkdir(parents=True)
    (allowed / "link").symlink_to(outside)
    staged = folders.staged(path=str(allowed / "parent/data"), uid=1234)
    with _swapping(allowed / "parent", allowed / "link"):
        for _ in range(2000):
            with suppress(ConvoyError, OSError):
                folders.backend.create(staged)
    assert (outside / "data").stat().st_uid == 0
    assert list(outside.iterdir()) == [outside / "data"]


@contextmanager
def _swapping(one: Path, other: Path) -> Iterator[None]:
    """While inside, a process exchanges two names without a pause; they end as they began."""
    script = (
        "import ctypes, sys; c = ctypes.CDLL(None)\n"
        "one, other = (a.encode() for a in sys.argv[1:])\n"
        "while True: c.renameat2(-100, one, -100, other, 2)"
    )
    with subprocess.Popen([sys.executable, "-c", script, one, other]) as child:
        try:
            yield
        finally:
            child.kill()


def test_a_new_folder_is_for_everyone_to_read(folders: Bed, allowed: Path) -> None:
    """Whatever umask the daemon was started with."""
    before = os.umask(0o077)
    try:
        folders.created(path=str(allowed / "new"))
    finally:
        os.umask(before)
    assert (allowed / "new").stat().st_mode & 0o7777 == 0o755


def test_an_allowed_folder_itself_is_no_volume(folders: Bed, allowed: Path) -> None:
    """A volume lies below it, or it would hold the others."""
    with pytest.raises(Unsupported, match="does not lie below"):
        folders.backend.resolve(Options(path=str(allowed)))


def test_the_daemons_own_folders_are_no_volume(tmp_path: Path) -> None:
    """Neither they, nor what is in them or around them: containers would see all volumes."""
    root, run = tmp_path / "a/root", tmp_path / "b/run"
    for folder in (root, run):
        folder.mkdir(parents=True)
    backend = BACKENDS["directory"](Settings(root=root, run_dir=run, allowed_paths=(tmp_path,)))
    for path in (root, root / "volumes", root.parent, run, run / "mounts/v", run.parent):
        with pytest.raises(Unsupported, match="overlaps"):
            backend.resolve(Options(path=str(path)))
    backend.resolve(Options(path=str(tmp_path / "a/other")))


@contextmanager
def _shown(source: Path, target: Path) -> Iterator[None]:
    """A folder with a bind mount of `source`, and of all that is mounted there."""
    target.mkdir()
    subprocess.run(["mount", "--rbind", "--make-private", source, target], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--recursive", target], check=True)
        target.rmdir()


@pytest.mark.parametrize(
    ("shown", "path"),
    [
        ("a/root", "x"),
        ("a/root/volumes", "x"),
        ("a/root/volumes", "x/new"),
        ("a/root/volumes/v/data", "x"),
        ("a", "x"),
        ("a", "x/root"),
        ("b/run", "x"),
        ("b/run/mounts", "x"),
        ("b/run/mounts/v", "x"),
    ],
)
def test_the_daemons_own_folders_are_no_volume_under_other_names(
    tmp_path: Path, allowed: Path, shown: str, path: str
) -> None:
    """A bind mount of them, or of what they are in, shows all volumes as well."""
    root, run = tmp_path / "a/root", tmp_path / "b/run"
    for folder in (root / "volumes/v/data", run / "mounts/v"):
        folder.mkdir(parents=True)
    backend = BACKENDS["directory"](Settings(root=root, run_dir=run, allowed_paths=(allowed,)))
    assert isinstance(backend, Directory)
    with _shown(tmp_path / shown, allowed / "x"):
        with pytest.raises(Unsupported, match="overlaps"):
            backend.resolve(Options(path=str(allowed / path)))
        with (
            pytest.raises(Unsupported, match="overlaps"),
            backend.allowed.at(str(allowed / path), make=True),
        ):
            pytest.fail("it is opened")
    assert not (tmp_path / shown / "new").exists()


def test_what_is_around_the_daemons_own_disk_is_no_volume(tmp_path: Path, allowed: Path) -> None:
    """Though a bind mount of it does not show what is mounted there."""
    root = tmp_path / "a/root"
    root.mkdir(parents=True)
    (allowed / "x").mkdir()
    backend = BACKENDS["directory"](Settings(root=root, allowed_paths=(allowed,)))
    subprocess.run(["mount", "-t", "tmpfs", "none", root], check=True)
    try:
        subprocess.run(["mount", "--bind", tmp_path / "a", allowed / "x"], check=True)
        try:
            with pytest.raises(Unsupported, match="overlaps"):
                backend.resolve(Options(path=str(allowed / "x")))
        finally:
            subprocess.run(["umount", allowed / "x"], check=True)
    finally:
        subprocess.run(["umount", root], check=True)


@pytest.mark.parametrize("shown", ["a/root/volumes", "a"])
@pytest.mark.parametrize("where", ["x", "x/y/z"])
def test_a_folder_below_which_the_daemons_own_are_shown_is_no_volume(
    tmp_path: Path, allowed: Path, where: str, shown: str
) -> None:
    """At any depth; beside another mount, which harms nobody."""
    root, run = tmp_path / "a/root", tmp_path / "run"
    for folder in (root / "volumes", run, tmp_path / "other", allowed / "data/x/y"):
        folder.mkdir(parents=True)
    (allowed / "data/x/y").rmdir()
    (allowed / "data/x").rmdir()
    (allowed / "data" / where).parent.mkdir(parents=True, exist_ok=True)
    settings = Settings(root=root, run_dir=run, allowed_paths=(allowed,))
    backend = BACKENDS["directory"](settings)
    with _shown(tmp_path / "other", allowed / "data/other"):
        backend.resolve(Options(path=str(allowed / "data")))
        with (
            _shown(tmp_path / shown, allowed / "data" / where),
            pytest.raises(Unsupported, match="overlaps"),
        ):
            backend.resolve(Options(path=str(allowed / "data")))


def test_a_volume_in_an_image_is_no_folder_of_another(
    make_bed: MakeBed, tmp_path: Path, allowed: Path
) -> None:
    """Its filesystem is not the root's, but its image lies there."""
    images = make_bed(Case("loopback", BACKENDS["loopback"], "image", Options(size=32 * MIB)))
    seen = images.mounted(images.created())
    backend = BACKENDS["directory"](
        Settings(root=images.root, run_dir=tmp_path / "run", allowed_paths=(allowed,))
    )
    with _shown(seen, allowed / "x"), pytest.raises(Unsupported, match="overlaps"):
        backend.resolve(Options(path=str(allowed / "x")))


def test_another_filesystem_is_nobodys(folders: Bed, allowed: Path) -> None:
    """Though its top is, in paths within a filesystem, around everything."""
    (allowed / "disk").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", allowed / "disk"], check=True)
    try:
        place = folders.created(path=str(allowed / "disk"))
        assert mounts.is_mountpoint(folders.mounted(place))
        folders.unmounted(place)
    finally:
        subprocess.run(["umount", allowed / "disk"], check=True)


def test_two_volumes_may_show_one_folder(folders: Bed, allowed: Path) -> None:
    """A mount of the first is none of the daemon's own data."""
    (allowed / "data").mkdir()
    one = folders.created("one", path=str(allowed / "data"))
    folders.mounted(one)
    two = folders.created("two", path=str(allowed / "data"))
    assert mounts.is_mountpoint(folders.mounted(two))


def test_a_folder_replaced_while_mounted_is_unmounted(folders: Bed, allowed: Path) -> None:
    """What is mounted is still ours, though its name leads elsewhere now."""
    place = folders.created(path=str(allowed / "data"))
    folders.mounted(place)
    (allowed / "data").rename(allowed / "old")
    (allowed / "data").mkdir()
    assert folders.backend.is_mounted(place)
    folders.unmounted(place)
    folders.at_rest()


def test_only_the_users_own_folder_outlives_its_volume(folders: Bed, allowed: Path) -> None:
    """So that Remove need not wait for those who have it mounted."""
    assert folders.backend.keeps_data(folders.created(path=str(allowed / "data")))
    assert not folders.backend.keeps_data(folders.created("other"))
