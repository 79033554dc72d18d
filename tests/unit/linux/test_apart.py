"""Mounts of loop devices that may never answer are told from those that are needed."""

from pathlib import Path

import pytest

from convoy_py.linux import apart, loop, mounts

TABLE = b"""30 1 8:1 / / rw - ext4 /dev/sda1 rw
31 30 7:1 / /srv/silent rw - ext4 /dev/loop1 rw
32 30 7:2 / /srv/talks rw - ext4 /dev/loop2 rw
33 30 7:3 / /usr rw - ext4 /dev/loop3 rw
34 30 7:4 / /srv/root rw - ext4 /dev/loop4 rw
35 30 259:1 / /srv/part rw - ext4 /dev/loop5p1 rw
"""


def test_only_silent_devices_that_are_not_needed_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The image's own filesystem and the programs' stay, and what is no whole loop device."""
    monkeypatch.setattr(mounts, "read", lambda: TABLE)
    monkeypatch.setattr(loop, "answering", lambda _image: {2})
    assert apart.silent_mounts(Path("/srv/root/db/image")) == ["/srv/silent"]
    assert apart.silent_mounts(Path("/srv/db/image")) == ["/srv/silent", "/srv/root"]


def test_no_device_is_asked_where_none_is_mounted(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(_image: Path) -> set[int]:
        raise AssertionError

    monkeypatch.setattr(mounts, "read", lambda: TABLE[: TABLE.index(b"31 ")])
    monkeypatch.setattr(loop, "answering", ask)
    assert apart.silent_mounts(Path("/srv/db/image")) == []
