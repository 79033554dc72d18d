"""Folders below a trusted one: no link on the way, and no way out."""

import errno
import os
from pathlib import Path, PurePath

import pytest

from convoy_py.linux import beneath


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A folder with folders in it, and one beside."""
    (tmp_path / "top/a/b").mkdir(parents=True)
    (tmp_path / "beside").mkdir()
    return tmp_path / "top"


@pytest.mark.parametrize(
    "way", ["..", "../beside", "a/../../beside", "a/b/../../..", "/", "/etc", "../top/a"]
)
def test_no_way_leads_out(top: Path, way: str) -> None:
    """Neither up nor from the root, also where it would come back."""
    for reach in (beneath.opened, beneath.made):
        with pytest.raises(OSError, match=r"cross-device") as caught, reach(top, PurePath(way)):
            pass
        assert caught.value.errno == errno.EXDEV
    assert sorted(os.listdir(top.parent)) == ["beside", "top"]


@pytest.mark.parametrize("way", ["link", "link/b", "a/link", "a/up/beside", "a/self"])
def test_no_link_is_followed(top: Path, way: str) -> None:
    """Wherever it leads: to stay below, out, or by /proc to what this process has open."""
    (top / "link").symlink_to("a")
    (top / "a/link").symlink_to("/etc")
    (top / "a/up").symlink_to("../..")
    (top / "a/self").symlink_to("/proc/self/cwd")
    with (
        pytest.raises(OSError, match="symbolic links") as caught,
        beneath.opened(top, PurePath(way)),
    ):
        pass
    assert caught.value.errno == errno.ELOOP


def test_links_in_the_trusted_part_are_followed(top: Path) -> None:
    """They are the administrator's."""
    (top.parent / "link").symlink_to("top")
    with beneath.opened(top.parent / "link", PurePath("a/b")) as folder:
        assert os.path.samestat(os.fstat(folder), (top / "a/b").stat())


def test_what_is_made_is_taken_back_if_the_work_fails(top: Path) -> None:
    """But not what was there."""
    for way, left in (("a/new", ["b"]), ("a/b", ["b"])):
        with pytest.raises(RuntimeError), beneath.made(top, PurePath(way)):
            raise RuntimeError
        assert os.listdir(top / "a") == left
    with beneath.made(top, PurePath("a/new")) as folder:
        assert os.fstat(folder).st_mode & 0o777 == 0o755


def test_what_is_made_has_its_mode_and_what_was_there_keeps_its_own(top: Path) -> None:
    """Whatever the umask of the daemon, and whatever the mode."""
    (top / "a").chmod(0o711)
    umask = os.umask(0o077)
    try:
        for way, mode in (("new", 0o755), ("a", 0o711)):
            with beneath.made(top, PurePath(way)) as folder:
                assert os.fstat(folder).st_mode & 0o777 == mode
    finally:
        os.umask(umask)


def test_what_is_made_is_on_the_disk(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder in which its name stands is synced; if that fails nothing was made."""
    synced: list[os.stat_result] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd)))
    with beneath.made(top, PurePath("a/new")):
        pass
    assert [each.st_ino for each in synced] == [(top / "a").stat().st_ino]

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Errno 5"), beneath.made(top, PurePath("a/other")):
        pass
    assert sorted(os.listdir(top / "a")) == ["b", "new"]
