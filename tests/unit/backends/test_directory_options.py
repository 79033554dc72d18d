"""Directory volumes: what may be asked of them, adopted, and in which folders of the user's."""

import errno
import os
from pathlib import Path

import pytest

from convoy_py.backends.directory import Directory
from convoy_py.backends.directory.folder import Allowed
from convoy_py.errors import (
    ConvoyError,
    DataDiffers,
    InvalidOption,
    NotFound,
    Unsupported,
)
from convoy_py.linux import beneath, loop
from convoy_py.models.volume import Options
from tests.unit.backends.conftest import MakePlace, Quotas

MIB = 1 << 20


# What is asked


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        (Options(mount_options=("suid",)), Unsupported, "suid is not allowed"),
        (Options(mount_options=("noexec", "sync")), InvalidOption, "option sync needs"),
        (Options(size=MIB - 1), InvalidOption, "is outside of 1MiB"),
        (Options(path="{}/data", size=MIB), Unsupported, "cannot be enforced on a host folder"),
        (Options(path="{}/data", inodes=9), Unsupported, "cannot be enforced on a host folder"),
        (Options(path="{}/data", source="db"), Unsupported, "goes without path"),
        (Options(path="/nowhere"), Unsupported, "does not lie below"),
    ],
)
def test_what_cannot_be_is_refused(
    backend: Directory, allowed: Path, options: Options, error: type[ConvoyError], told: str
) -> None:
    """With the reason; nothing that was given is ignored."""
    path = options.path and options.path.format(allowed)
    with pytest.raises(error, match=told):
        backend.resolve(options.model_copy(update={"path": path}))


def test_limits_are_for_hosts_that_enforce_them(backend: Directory, quotas: Quotas) -> None:
    """A subvolume's counts bytes alone; a directory without limits goes everywhere."""
    spec = backend.resolve(Options(size=MIB, inodes=9))
    assert (spec.size, spec.inodes) == (MIB, 9)
    quotas.btrfs = True
    assert backend.resolve(Options(size=MIB)).size == MIB
    with pytest.raises(Unsupported, match=r"cannot limit inodes here \(a quota of btrfs"):
        backend.resolve(Options(inodes=9))
    quotas.btrfs = quotas.works = False
    for options, told in (
        (Options(size=MIB), r"cannot enforce a size here \(no prjquota\)"),
        (Options(inodes=9), r"cannot limit inodes here \(no prjquota\)"),
    ):
        with pytest.raises(Unsupported, match=told):
            backend.resolve(options)
    spec = backend.resolve(Options())
    assert (spec.size, spec.inodes, spec.uid, spec.gid, spec.mode) == (None, None, 0, 0, 0o755)


@pytest.mark.parametrize("options", [{"path": "{}/data"}, {"source": "db"}])
def test_what_is_found_keeps_its_owner(
    backend: Directory, allowed: Path, options: dict[str, str]
) -> None:
    """A folder of the user's, and what a clone copies; only what is asked for changes."""
    given = {key: value.format(allowed) for key, value in options.items()}
    spec = backend.resolve(Options.model_validate({**given, "uid": 5}))
    assert (spec.uid, spec.gid, spec.mode) == (5, None, None)


def test_it_is_told_which_paths_are_allowed(tmp_path: Path, quotas: Quotas) -> None:
    (tmp_path / "volumes").mkdir()
    allowed = Directory(tmp_path, (tmp_path / "a", tmp_path / "b")).facts()["paths"]
    assert allowed == f"{tmp_path}/a, {tmp_path}/b"
    assert Directory(tmp_path).facts()["paths"] == "none allowed (setting allowed_paths)"
    with pytest.raises(Unsupported, match=r"allowed \(setting allowed_paths: none\)"):
        Directory(tmp_path).resolve(Options(path="/srv/x"))


@pytest.mark.parametrize(
    ("btrfs", "works", "size"),
    [
        (True, False, "enforced by a quota"),
        (False, True, "enforced by a quota"),
        (False, False, "not enforced: no prjquota"),
    ],
)
def test_it_is_told_whether_sizes_are_enforced(
    backend: Directory, quotas: Quotas, *, btrfs: bool, works: bool, size: str
) -> None:
    quotas.btrfs, quotas.works = btrfs, works
    facts = backend.facts()
    assert facts["size"] == size
    assert (facts["snapshots"] == "at once, of the subvolume") is btrfs


# Adopted


def test_what_stands_in_the_home_is_adopted(
    backend: Directory, place: MakePlace, allowed: Path
) -> None:
    """With its owner and mode, and the mount options that were recorded, or others."""
    db = place(mount_options=("noexec",))
    (db.home / "data").mkdir()
    (db.home / "data").chmod(0o2751)
    spec = backend.adopt(db, Options())
    assert (spec.uid, spec.gid, spec.mode) == (os.getuid(), os.getgid(), 0o2751)
    assert spec.mount_options == ("noexec",)
    assert backend.adopt(db, Options(mount_options=("ro",))).mount_options == ("ro",)
    with pytest.raises(DataDiffers, match="mode is 2751, asked 0700"):
        backend.adopt(db, Options(mode=0o700))
    with pytest.raises(Unsupported, match="dev is not allowed"):
        backend.adopt(db, Options(mount_options=("dev",)))


@pytest.mark.parametrize("there", ["nothing", "a file", "a link"])
def test_nothing_but_a_folder_is_adopted(
    backend: Directory, place: MakePlace, tmp_path: Path, there: str
) -> None:
    """A link could lead to the host's own."""
    db = place()
    if there == "a file":
        (db.home / "data").touch()
    elif there == "a link":
        (db.home / "data").symlink_to(tmp_path)
    with pytest.raises(NotFound, match=r"data is not a folder"):
        backend.adopt(db, Options())


def test_a_path_is_adopted_as_it_is_asked_or_recorded(
    backend: Directory, place: MakePlace, allowed: Path
) -> None:
    one, other = str(allowed / "one"), str(allowed / "other")
    assert backend.adopt(place("a", path=one), Options()).path == one
    assert backend.adopt(place("b"), Options(path=other)).path == other
    assert backend.adopt(place("c", path=one), Options(path=other)).path == other
    assert sorted(path.name for path in allowed.iterdir()) == ["one", "other"]


# The user's folder


@pytest.mark.parametrize(
    ("number", "error", "told"),
    [
        (errno.ELOOP, Unsupported, "leads through a link or away"),
        (errno.EXDEV, Unsupported, "leads through a link or away"),
        (errno.ENOTDIR, InvalidOption, "is not a folder"),
        (errno.EACCES, PermissionError, "Permission denied"),
    ],
)
def test_what_stands_in_a_paths_way_is_told(
    allowed: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    error: type[Exception],
    told: str,
) -> None:
    """What the kernel says where a link or `..` would lead away, whoever put it there."""

    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(beneath, "opened", refused)
    with pytest.raises(error, match=told), Allowed((allowed,), ()).at(f"{allowed}/data"):
        pass


def test_nothing_of_ours_is_no_users_folder(tmp_path: Path, allowed: Path) -> None:
    """Neither through a link in the way, nor in a folder or around one that is refused."""
    (allowed / "real").mkdir()
    (allowed / "link").symlink_to(allowed / "real")
    (allowed / "ours/deep").mkdir(parents=True)
    tops = Allowed((allowed,), (allowed / "ours", tmp_path / "missing"))
    tops.check(f"{allowed}/real/new")
    for path, told in (("link", "through a link"), ("ours", "overlaps"), ("ours/x", "overlaps")):
        with pytest.raises(Unsupported, match=told):
            tops.check(f"{allowed}/{path}")
    for path in ("..", "real/../../x"):
        with pytest.raises(Unsupported, match="does not lie below"):
            tops.check(f"{allowed}/{path}")


@pytest.mark.parametrize("make", [True, False])
def test_what_is_to_be_ours_is_nobody_elses(allowed: Path, *, make: bool) -> None:
    """Also before it is there, and of a volume that was made when it was not ours yet."""
    tops = Allowed((allowed,), (allowed / "ours",))
    for path in ("ours", "ours/x"):
        with pytest.raises(Unsupported, match="overlaps"):
            tops.check(f"{allowed}/{path}")
    (allowed / "x").mkdir()
    (allowed / "y").mkdir()
    with tops.at(f"{allowed}/x", make=make):
        pass
    with (
        pytest.raises(Unsupported, match="overlaps"),
        Allowed((allowed,), (allowed / "y/later",)).at(f"{allowed}/y", make=make),
    ):
        pytest.fail("it is opened")


def test_a_folder_may_be_named_by_a_link_or_by_what_it_leads_to(
    tmp_path: Path, allowed: Path
) -> None:
    """By the administrator, or by the user."""
    link = tmp_path / "link"
    link.symlink_to(allowed)
    for top, path in ((link, allowed), (link, link), (allowed, allowed)):
        with Allowed((top,), ()).at(f"{path}/data", make=True) as folder:
            assert os.path.samestat(os.fstat(folder), (allowed / "data").stat())


@pytest.mark.parametrize(
    ("image", "refused"), [("/elsewhere/image", False), ("{}/volumes/v/image", True)]
)
def test_only_images_of_ours_are_refused(
    tmp_path: Path, allowed: Path, monkeypatch: pytest.MonkeyPatch, image: str, *, refused: bool
) -> None:
    """Whoever else keeps a filesystem in one."""
    ours = tmp_path / "ours"
    ours.mkdir()
    monkeypatch.setattr(loop, "backing_file", lambda _: image.format(ours))
    tops = Allowed((allowed,), (ours,))
    if not refused:
        tops.check(f"{allowed}/x")
        return
    with pytest.raises(Unsupported, match="overlaps"):
        tops.check(f"{allowed}/x")


def test_a_volume_holds_its_data_where_it_is(
    backend: Directory, place: MakePlace, allowed: Path
) -> None:
    theirs, ours = place("a", path=str(allowed / "x")), place("b")
    assert [backend.data(each) for each in (theirs, ours)] == [allowed / "x", ours.home / "data"]
    assert [backend.keeps_data(each) for each in (theirs, ours)] == [True, False]
