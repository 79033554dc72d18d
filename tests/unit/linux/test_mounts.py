"""The mount table: exact with odd names, fast to search, true to the kernel's format."""

from pathlib import Path

import pytest

from convoy_py.linux import mounts

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
