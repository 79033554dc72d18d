"""The mount table: exact with odd names, fast to search, true to the kernel's format."""

import errno
import os
import re
from pathlib import Path

import pytest

from convoy_py.linux import libc, mounts
from convoy_py.linux.descriptors import opened

TABLE = rb"""21 27 0:19 / /sys rw,relatime - sysfs sysfs rw
43 27 7:1 / /run/convoy/mounts/vol1 rw,nosuid shared:5 - ext4 /dev/loop1 rw,discard
44 27 7:10 / /run/convoy/mounts/vol10 rw,nosuid shared:5 master:3 - ext4 /dev/loop10 rw
45 43 7:1 /da\040ta /srv/a\011tab\012line\134slash#x ro master:7 - ext4 a\040b\043 rw
"""


@pytest.fixture
def in_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table above in place of the kernel's."""
    monkeypatch.setattr(mounts, "read", lambda _pid="self": TABLE)


@pytest.mark.usefixtures("in_table")
def test_every_field_is_read() -> None:
    """Flags, propagation and the filesystem's own options each end up where they belong."""
    assert mounts.table()[2] == mounts.Mount(
        mount_id=44,
        parent_id=27,
        device="7:10",
        root="/",
        mountpoint="/run/convoy/mounts/vol10",
        options=("rw", "nosuid"),
        peer_group=5,
        master=3,
        fstype="ext4",
        source="/dev/loop10",
        super_options=("rw",),
    )


@pytest.mark.usefixtures("in_table")
def test_odd_names_are_unescaped() -> None:
    """Blank, tab, newline, backslash and hash come back as they are."""
    odd = mounts.table()[3]
    assert odd.root == "/da ta"
    assert odd.mountpoint == "/srv/a\ttab\nline\\slash#x"
    assert odd.source == "a b#"
    assert (odd.shared, odd.peer_group, odd.master) == (False, 0, 7)


@pytest.mark.parametrize(
    ("device", "root", "ids"),
    [("7:1", "/", [43, 45]), ("7:1", "/da ta", [45]), ("7:1", "/da ta/x", []), ("7:10", "/", [44])],
)
def test_mounts_of_a_folder_are_found_by_what_their_lines_have(
    device: str, root: str, ids: list[int]
) -> None:
    found = mounts.lines_with(TABLE, mounts.needle(device, root))
    assert [mount.mount_id for mount in found] == ids


@pytest.mark.usefixtures("in_table")
@pytest.mark.parametrize(
    ("path", "ids"),
    [
        ("/run/convoy/mounts/vol1", [43]),
        ("/run/convoy/mounts", [43, 44]),
        ("/run/convoy/mounts/vol", []),
        ("/srv/a\ttab\nline\\slash#x", [45]),
        ("/sys", [21]),
    ],
)
def test_only_mounts_at_or_below_a_folder_are_below_it(path: str, ids: list[int]) -> None:
    """A name that merely begins alike is not below."""
    assert [m.mount_id for m in mounts.below(Path(path))] == ids


@pytest.mark.parametrize(
    ("needle", "ids"),
    [
        (b"\n43 ", [43]),
        (b"\n4", [43, 44, 45]),
        (b" 7:1 ", [43, 45]),
        (b"none", []),
        (b" rw\n", [21, 44, 45]),
    ],
)
def test_lines_are_found_by_what_they_hold(needle: bytes, ids: list[int]) -> None:
    """Each line once, whole, wherever in it the needle is."""
    assert [m.mount_id for m in mounts.lines_with(TABLE, needle)] == ids


def test_own_table_holds_proc() -> None:
    """The kernel's table of this process is read; /proc is in it, and not a folder in it."""
    found = mounts.find(Path("/proc"))
    assert found is not None
    assert found.fstype == "proc"
    assert found in mounts.table()
    assert mounts.find(Path("/proc/self")) is None
    assert mounts.find(Path("/proc/there is no such thing")) is None
    assert mounts.holding(Path("/proc/self/status")) == found


def test_mounts_of_a_process_that_ended_are_an_error() -> None:
    """A table is never silently empty."""
    with pytest.raises(FileNotFoundError):
        mounts.table(2**22 + 1)


def test_one_odd_line_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel leaves a carriage return as it is, and some filesystems blanks in their options;
    a line that makes no sense is passed over."""
    odd = (
        b"50 27 7:1 / /srv/a\rb rw - ext4 /dev/loop1 rw\n"
        b"51 27 0:5 / /srv/c rw - odd none a=b c,d\n"
        b"nonsense\n"
    )
    monkeypatch.setattr(mounts, "read", lambda _pid="self": odd + TABLE)
    assert [m.mount_id for m in mounts.table()] == [50, 51, 21, 43, 44, 45]
    assert mounts.table()[0].mountpoint == "/srv/a\rb"
    assert mounts.table()[1].super_options == ("a=b c", "d")
    assert [m.mount_id for m in mounts.lines_with(odd, b"non")] == [51]


ROOTED = b"""30 1 8:1 / / rw - ext4 /dev/sda1 rw
31 30 0:40 / /srv rw - tmpfs lower rw
32 31 0:41 / /srv rw - tmpfs upper rw
33 32 0:42 / /srv/a\\040b rw - tmpfs within rw
"""


@pytest.mark.parametrize(
    ("path", "on"),
    [
        ("/", 30),
        ("/etc/passwd", 30),
        ("/srv", 32),
        ("/srv/file", 32),
        ("/srv/a", 32),
        ("/srv/a b/file", 33),
        ("/srv2", 30),
    ],
)
def test_what_lies_on_which_mount_is_told_by_names(
    monkeypatch: pytest.MonkeyPatch, path: str, on: int
) -> None:
    """The innermost has it, and of several at one place the topmost."""
    monkeypatch.setattr(mounts, "read", lambda _pid="self": ROOTED)
    covers = mounts.Covers()
    for _ in range(2):
        found = covers.of(path)
        assert found is not None
        assert found.mount_id == on


@pytest.mark.parametrize("table", [b"", b"%d 1 8:1 / /elsewhere rw - ext4 /dev/sda1 rw\n"])
def test_folder_on_a_mount_that_is_not_seen_has_no_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, table: bytes
) -> None:
    """As one outside of our root folder, or of which the mount was taken away or moved."""
    with opened(tmp_path) as fd:
        text = table % mounts.mount_id(fd) if table else table
        monkeypatch.setattr(mounts, "read", lambda _pid="self": text)
        with pytest.raises(FileNotFoundError, match="is not in /proc/self/mountinfo"):
            mounts.position(fd)
        if not table:
            with pytest.raises(FileNotFoundError, match="is not in /proc/self/mountinfo"):
                mounts.holding(tmp_path)


def test_only_a_busy_mount_is_left_without_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it is asked to unmount is unmounted, without following a link."""
    asked: list[tuple[object, ...]] = []
    number = 0

    def call(function: str, *arguments: object, about: str | None = None) -> int:
        asked.append((function, *arguments))
        if number:
            raise OSError(number, os.strerror(number), about)
        return 0

    monkeypatch.setattr(libc, "call", call)
    assert mounts.unmount_unless_busy(Path("/srv"))
    assert asked == [("umount2", b"/srv", mounts._UMOUNT_NOFOLLOW)]
    number = errno.EBUSY
    assert not mounts.unmount_unless_busy(Path("/srv"))
    number = errno.EIO
    with pytest.raises(OSError, match="Input/output error"):
        mounts.unmount_unless_busy(Path("/srv"))


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_what_was_shut_down_is_found_in_the_table(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It answers EIO; what lies below it is no mountpoint, and any other error is one."""

    def call(_function: str, *_: object, about: str | None = None) -> int:
        raise OSError(number, os.strerror(number), about)

    lines = ["1 0 8:1 / / rw - ext4 /dev/sda1 rw", "50 1 7:1 / /srv/db rw - xfs /dev/loop1 rw"]
    monkeypatch.setattr(libc, "call", call)
    monkeypatch.setattr(mounts, "read", lambda _pid="self": "\n".join(lines).encode())
    for path in ("/srv/db/data", "/srv/other") + (("/srv/db",) if number != errno.EIO else ()):
        with pytest.raises(OSError, match=re.escape(os.strerror(number))):
            mounts.is_mountpoint(Path(path))
    if number == errno.EIO:
        found = mounts.find(Path("/srv/db"))
        assert found is not None
        assert found.mount_id == 50
        assert mounts.lasting_id(Path("/srv/db")) is None
    else:
        with pytest.raises(PermissionError):
            mounts.lasting_id(Path("/srv/db"))


PLUGIN = "40 1 8:1 /var/plugin /own rw - ext4 /dev/sda1 rw"
VOLUME = "50 41 7:1 / /view/var/plugin/vol rw - ext4 /dev/loop1 rw"
HOST = "41 1 8:1 / /view rw - ext4 /dev/sda1 rw"


@pytest.mark.parametrize(
    ("table", "copies"),
    [
        ([PLUGIN, HOST, VOLUME], [50]),
        ([PLUGIN, HOST, "50 41 8:1 /x /view/var/plugin rw - ext4 /dev/sda1 rw"], [50]),
        # Elsewhere on the host's disk, or beside under a name that begins alike.
        ([PLUGIN, HOST, "50 41 7:1 / /view/var/other rw - ext4 /dev/loop1 rw"], []),
        ([PLUGIN, HOST, "50 41 7:1 / /view/var/plugin2 rw - ext4 /dev/loop1 rw"], []),
        # What propagates goes with the host's own.
        ([PLUGIN, HOST.replace("rw -", "rw shared:1 -"), VOLUME], []),
        # The plugin's own mounts.
        ([PLUGIN, HOST, "50 40 7:1 / /own/vol rw - ext4 /dev/loop1 rw"], []),
        # A place of the same name on another filesystem.
        ([PLUGIN, HOST.replace("8:1", "8:2"), VOLUME], []),
        # One whose parent is not seen, and one that is not where its parent is.
        ([PLUGIN, "50 49 7:1 / /view/var/plugin/vol rw - ext4 /dev/loop1 rw"], []),
        ([PLUGIN, HOST, "50 41 7:1 / /moved/var/plugin rw - ext4 /dev/loop1 rw"], []),
        # Of what is the whole of a filesystem nothing is a copy in this sense.
        ([PLUGIN.replace("/var/plugin", "/"), HOST, VOLUME], []),
    ],
)
def test_only_what_is_there_twice_for_us_alone_is_dropped(
    monkeypatch: pytest.MonkeyPatch, table: list[str], copies: list[int]
) -> None:
    left = [line.encode() + b"\n" for line in table]

    def detach(mountpoint: str) -> None:
        left.pop()
        detached.append(mountpoint)

    detached: list[str] = []
    monkeypatch.setattr(mounts, "read", lambda _pid="self": b"".join(left))
    monkeypatch.setattr(mounts, "holding", lambda _: mounts.table()[0])
    monkeypatch.setattr(mounts, "_at", lambda _: (50, True))
    monkeypatch.setattr(mounts, "detach", detach)
    expected = [mount.mountpoint for mount in mounts.table() if mount.mount_id in copies]
    assert mounts.drop_copies(Path("/own/volumes")) == detached == expected


def test_copy_that_is_covered_is_not_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be detached in its place is another's."""
    table = [PLUGIN, HOST, VOLUME]
    monkeypatch.setattr(mounts, "read", lambda _pid="self": "\n".join(table).encode())
    monkeypatch.setattr(mounts, "holding", lambda _: mounts.table()[0])
    for found in ((51, True), (50, False)):
        monkeypatch.setattr(mounts, "_at", lambda _, found=found: found)
        assert mounts.drop_copies(Path("/own/volumes")) == []
