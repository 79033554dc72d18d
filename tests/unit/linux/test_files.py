"""Files: replaced whole, removed safely, measured right, locked once."""

import errno
import fcntl
import os
import secrets
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from convoy_py.linux import btrfs, files
from convoy_py.linux.descriptors import opened

KIB = 1 << 10


def test_replace_changes_content_and_mode_and_leaves_nothing(tmp_path: Path) -> None:
    """The new content stands alone under its name, with its mode."""
    path = tmp_path / "record"
    for data, mode in ((b"old", 0o600), (b"the new", 0o644)):
        files.durable_replace(path, data, mode)
        assert path.read_bytes() == data
        assert path.stat().st_mode & 0o7777 == mode
    assert [p.name for p in tmp_path.iterdir()] == ["record"]


@pytest.mark.parametrize("broken", ["write", "fsync", "rename"])
def test_failed_replace_keeps_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Whatever step fails, the old content stays and no temporary file does."""
    path = tmp_path / "record"
    path.write_bytes(b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, fail)
        with pytest.raises(OSError, match="broken"):
            files.durable_replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["record"]


def test_a_replace_that_is_not_on_the_disk_says_that_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the folder cannot be synced: who reads the file has the new content."""
    path, fsync = tmp_path / "record", os.fsync

    def fail(fd: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(files.Unsettled, match="No space left"):
        files.durable_replace(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("durable", [True, False])
def test_replace_syncs_the_file_before_and_the_folder_after_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, durable: bool
) -> None:
    """In the only order that survives a power cut; not at all where durability is not wanted."""
    steps: list[str] = []
    fsync, rename = os.fsync, os.rename

    def traced_fsync(fd: int) -> None:
        steps.append("folder" if os.path.isdir(f"/proc/self/fd/{fd}") else "file")
        fsync(fd)

    def traced_rename(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        steps.append("rename")
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(os, "rename", traced_rename)
    files.durable_replace(tmp_path / "record", b"new", durable=durable)
    assert steps == (["file", "rename", "folder"] if durable else ["rename"])


def test_names_are_traded(tmp_path: Path) -> None:
    """Two files, or a file and a folder, have each other's name; a link is traded, not followed."""
    (tmp_path / "one").write_bytes(b"one")
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to("other")
    files.exchange(tmp_path / "one", tmp_path / "other")
    assert (tmp_path / "other").read_bytes() == b"one"
    assert (tmp_path / "one").is_dir()
    files.exchange(tmp_path / "one", tmp_path / "link")
    assert (tmp_path / "one").is_symlink()
    assert (tmp_path / "link").is_dir()


def test_missing_name_is_not_traded(tmp_path: Path) -> None:
    """Both stay as they were, and the error names them."""
    (tmp_path / "one").write_bytes(b"one")
    with pytest.raises(FileNotFoundError, match=r"one and .*other"):
        files.exchange(tmp_path / "one", tmp_path / "other")
    assert [p.name for p in tmp_path.iterdir()] == ["one"]


def test_tree_is_removed_and_links_out_of_it_are_not_followed(tmp_path: Path) -> None:
    """Files, folders, links of all kinds go; what a link leads to stays."""
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    (outside / "kept").mkdir(parents=True)
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "file").write_bytes(b"x")
    (tree / "a" / "link").symlink_to(outside)
    (tree / "broken").symlink_to("nowhere")
    (tree / "a" / "b" / b"\xff\n".decode(errors="surrogateescape")).touch()
    os.mkfifo(tree / "fifo")
    files.remove_tree(tree)
    assert [p.name for p in tmp_path.iterdir()] == ["outside"]
    assert (outside / "kept").is_dir()


def test_missing_tree_is_removed_already(tmp_path: Path) -> None:
    """Removing twice is fine, also where the folder around is gone."""
    files.remove_tree(tmp_path / "none")
    files.remove_tree(tmp_path / "none" / "of" / "these")


def test_link_to_a_tree_is_not_a_tree(tmp_path: Path) -> None:
    """A link in place of the folder is refused and stays, as does what it leads to."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(NotADirectoryError):
        files.remove_tree(tmp_path / "link")
    assert (tmp_path / "link").is_dir()


def test_deep_tree_is_measured_and_removed(tmp_path: Path) -> None:
    """Folders nested deeper than Python's stack and a path name reach are no obstacle."""
    top = tmp_path / "deep"
    top.mkdir()
    fd = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    open_before = len(os.listdir("/proc/self/fd"))
    assert files.disk_usage(top)[0] == 3001 * top.stat().st_size
    files.remove_tree(top)
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_usage_counts_each_file_once_and_tells_holes_from_data(tmp_path: Path) -> None:
    """Hard links add nothing, nor do holes, but what is written in a sparse file."""
    (tmp_path / "file").write_bytes(b"x" * 100 * KIB)
    os.link(tmp_path / "file", tmp_path / "again")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "sparse").touch()
    os.sync()
    used, allocated = files.disk_usage(tmp_path)
    # A folder's own size grows with its entries on some filesystems and not on others.
    assert used - tmp_path.stat().st_size == 100 * KIB + len("file")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(200 << 30)
    assert files.disk_usage(tmp_path) == (used, allocated)
    with (tmp_path / "sparse").open("r+b") as file:
        file.seek(100 << 30)
        file.write(b"x" * 64 * KIB)
    os.sync()
    now_used, now_allocated = files.disk_usage(tmp_path)
    assert now_used == used + 64 * KIB
    assert now_allocated >= allocated + 64 * KIB
    assert allocated >= 100 * KIB


def test_lock_has_one_holder_who_is_told(tmp_path: Path) -> None:
    """A second taker learns the first one's text; once it lets go, the lock is free."""
    path = tmp_path / "lock"
    path.write_text("an older and longer text than the next")
    fd = files.lock_file(path, "pid 42")
    with pytest.raises(BlockingIOError, match="pid 42") as caught:
        files.lock_file(path, "pid 43")
    assert caught.value.strerror == "pid 42"
    os.close(fd)
    os.close(files.lock_file(path, "pid 44"))
    assert path.read_text() == "pid 44"


def test_reserved_file_has_all_its_blocks(tmp_path: Path) -> None:
    """Every byte is on the disk, not only promised."""
    with (tmp_path / "file").open("wb") as file:
        files.allocate(file.fileno(), 1024 * KIB)
        found = os.fstat(file.fileno())
    assert found.st_size == 1024 * KIB
    assert found.st_blocks * 512 >= 1024 * KIB


def test_more_than_the_host_has_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSPC, without having filled the disk to find out."""
    asked: list[int] = []
    monkeypatch.setattr(os, "posix_fallocate", lambda _fd, _begin, size: asked.append(size))
    host = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "fstatvfs", lambda _: host)
    available = host.f_bavail * host.f_frsize
    with (tmp_path / "file").open("wb") as file:
        with pytest.raises(OSError, match="No space") as caught:
            files.allocate(file.fileno(), available + 1)
        assert caught.value.errno == errno.ENOSPC
        assert os.fstat(file.fileno()).st_size == 0
        files.allocate(file.fileno(), available)
    assert asked == [available]


def test_regular_files_of_a_tree_are_opened_once_each(tmp_path: Path) -> None:
    """Whatever else is there, which to open might do harm."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_bytes(b"x")
    os.link(tmp_path / "folder/file", tmp_path / "again")
    (tmp_path / "link").symlink_to("again")
    os.mkfifo(tmp_path / "fifo")
    assert [os.read(fd, 2) for fd in files.regular_files(tmp_path)] == [b"x"]


def test_a_file_that_is_replaced_has_its_mode(tmp_path: Path) -> None:
    """Whatever the umask of the daemon."""
    umask = os.umask(0o077)
    try:
        files.durable_replace(tmp_path / "file", b"x", 0o644)
    finally:
        os.umask(umask)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_what_bears_the_name_of_a_temporary_file_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither it nor, if it is a link, what it leads to."""
    monkeypatch.setattr(secrets, "token_hex", lambda _: "taken")
    (tmp_path / "other").write_bytes(b"other")
    for make in (os.symlink, os.link):
        make(tmp_path / "other", tmp_path / ".record.taken")
        with pytest.raises(FileExistsError):
            files.durable_replace(tmp_path / "record", b"new")
        assert (tmp_path / "other").read_bytes() == b"other"
        (tmp_path / ".record.taken").unlink()


def test_folder_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    files.fsync_dir(tmp_path)
    assert synced == [str(tmp_path)]


def test_unsettled_tells_what_failed() -> None:
    """In the words of the system, or in those of who raised it."""
    where = Path("/somewhere")
    told = files.Unsettled.after(OSError(errno.EIO, "Input/output error"), where)
    assert (told.errno, told.strerror, told.filename) == (
        errno.EIO,
        "Input/output error",
        "/somewhere",
    )
    assert files.Unsettled.after(OSError("it ended badly"), where).strerror == "it ended badly"


def fails(number: int) -> Callable[..., int]:
    def fail(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_lock_on_a_full_disk_has_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """But it is held."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fails(number))
        fd = files.lock_file(tmp_path / "lock", "pid 42")
    with pytest.raises(BlockingIOError):
        files.lock_file(tmp_path / "lock", "pid 43")
    os.close(fd)


def test_lock_that_cannot_be_labelled_is_let_go_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", fails(errno.EIO))
        with pytest.raises(OSError, match="Input/output error"):
            files.lock_file(tmp_path / "lock", "pid 42")
    os.close(files.lock_file(tmp_path / "lock", "pid 43"))


def test_link_in_the_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    """What it leads to would be overwritten."""
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "lock").symlink_to("other")
    with pytest.raises(OSError, match="symbolic links"):
        files.lock_file(tmp_path / "lock", "pid 42")
    assert (tmp_path / "other").read_bytes() == b"other"


@pytest.mark.parametrize(
    ("number", "has_room"),
    [(0, True), (errno.ENOSPC, False), (errno.EDQUOT, False), (errno.EOPNOTSUPP, True)],
)
def test_room_is_tried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, *, has_room: bool
) -> None:
    """A quota leaves less than the filesystem tells; where it cannot be tried that is believed."""
    monkeypatch.setattr(os, "posix_fallocate", fails(number) if number else lambda *_: None)
    assert files.has_room(tmp_path, 4 * KIB) is has_room


def test_the_last_byte_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not one more."""
    host = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda _: host)
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: None)
    available = host.f_bavail * host.f_frsize
    assert files.has_room(tmp_path, available)
    assert not files.has_room(tmp_path, available + 1)


class Flags:
    """The flags of files as ioctl tells and sets them; `refusal` is what it says instead."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.of: dict[str, int] = {}
        self.refusal = 0
        patch.setattr(fcntl, "ioctl", self._asked)

    def _asked(self, fd: int, request: int, argument: bytes) -> bytes:
        if self.refusal:
            raise OSError(self.refusal, os.strerror(self.refusal))
        path = os.readlink(f"/proc/self/fd/{fd}")
        if request == files._FS_IOC_GETFLAGS:
            return struct.pack("l", self.of.get(path, 0))
        assert request == files._FS_IOC_SETFLAGS
        (self.of[path],) = struct.unpack("l", argument)
        return argument


@pytest.fixture
def flags(monkeypatch: pytest.MonkeyPatch) -> Flags:
    return Flags(monkeypatch)


@pytest.mark.parametrize("number", [errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL])
def test_filesystem_without_flags_has_no_guards(tmp_path: Path, flags: Flags, number: int) -> None:
    """In whichever way it says so; none can be set, and that is no failure."""
    flags.refusal = number
    assert files.set_immutable(tmp_path, on=True) is False
    with opened(tmp_path) as fd:
        assert files.guards(fd) == 0
        files.set_guards(fd, files._FS_IMMUTABLE)


def test_guards_that_cannot_be_told_are_an_error(tmp_path: Path, flags: Flags) -> None:
    """Only who may not set +i, as in some containers, goes without."""
    flags.refusal = errno.EIO
    with opened(tmp_path) as fd:
        with pytest.raises(OSError, match="Input/output error"):
            files.guards(fd)
        with pytest.raises(OSError, match="Input/output error"):
            files.set_guards(fd, files._FS_IMMUTABLE)
        with pytest.raises(OSError, match="Input/output error"):
            files.set_immutable(tmp_path, on=True)
        flags.refusal = errno.EPERM
        assert files.set_immutable(tmp_path, on=True) is False
        with pytest.raises(PermissionError):
            files.set_guards(fd, files._FS_IMMUTABLE)


def test_guards_are_set_beside_other_flags(tmp_path: Path, flags: Flags) -> None:
    """And no file is touched on which none are to be set."""
    flags.of[str(tmp_path)] = 0x80
    with opened(tmp_path) as fd:
        files.set_guards(fd, 0x20)
        assert flags.of == {str(tmp_path): 0x80 | 0x20}
        assert files.guards(fd) == 0x20
        flags.refusal = errno.EIO
        files.set_guards(fd, 0)
    flags.refusal = 0
    for on, found in ((True, 0xB0), (False, 0xA0)):
        assert files.set_immutable(tmp_path, on=on)
        assert flags.of == {str(tmp_path): found}


def test_what_a_link_leads_to_is_not_made_immutable(tmp_path: Path, flags: Flags) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(OSError, match="symbolic links"):
        files.set_immutable(tmp_path / "link", on=True)
    assert flags.of == {}


@pytest.mark.parametrize("on_btrfs", [True, False])
def test_only_btrfs_overwrites_in_place_if_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: Flags, *, on_btrfs: bool
) -> None:
    """That bit may mean anything elsewhere."""
    monkeypatch.setattr(btrfs, "is_btrfs", lambda _: on_btrfs)
    with opened(tmp_path) as fd:
        assert not files.is_nocow(fd)
        files.set_nocow(fd)
        assert files.is_nocow(fd) is on_btrfs
        assert flags.of == ({str(tmp_path): files._FS_NOCOW} if on_btrfs else {})
        flags.of[str(tmp_path)] = files._FS_NOCOW
        assert files.is_nocow(fd) is on_btrfs


def test_number_of_a_subvolume_means_nothing_on_another_filesystem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any folder may have it there."""
    monkeypatch.setattr(btrfs, "is_btrfs", lambda _: False)
    (tmp_path / "tree/below").mkdir(parents=True)
    monkeypatch.setattr(btrfs, "_SUBVOLUME_INODE", (tmp_path / "tree/below").stat().st_ino)
    files.remove_tree(tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []


def test_guard_is_not_taken_from_what_a_link_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: Flags
) -> None:
    """Which somebody put there after it was looked at."""
    look, name, other = os.stat, tmp_path / "name", tmp_path / "other"
    for path in (name, other):
        path.touch()
    flags.of[str(other)] = files._FS_IMMUTABLE

    def look_and_replace(path: str, *, dir_fd: int, follow_symlinks: bool) -> os.stat_result:
        found = look(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
        name.unlink()
        name.symlink_to(other)
        return found

    def refuse(_: str, /, *, dir_fd: int) -> None:
        raise PermissionError

    with opened(tmp_path) as folder, monkeypatch.context() as patch:
        patch.setattr(os, "stat", look_and_replace)
        with pytest.raises(OSError, match="symbolic links"):
            files._forced(refuse, folder, "name")
    assert flags.of == {str(other): files._FS_IMMUTABLE}
