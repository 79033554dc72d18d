"""Folders of a managed plugin, found where the host has them."""

from pathlib import Path

import pytest

from convoy_py.linux import mounts, outside

ROOT = "20 1 8:1 / / rw - ext4 /dev/sda1 rw"
DISK = "21 20 8:2 / /mnt rw - ext4 /dev/sdb1 rw"


@pytest.mark.parametrize(
    ("own", "hosts", "seen"),
    [
        # Where both see the same there is nothing to tell.
        (ROOT, [ROOT], "/srv/vol"),
        # All of the plugin's root is somewhere in that of the host.
        (ROOT.replace(" / / ", " /plugin/rootfs / "), [ROOT], "/plugin/rootfs/srv/vol"),
        # The folder that an engine shows at another place.
        (DISK.replace(" / /mnt", " /vol /srv/vol"), [ROOT, DISK], "/mnt/vol"),
        (DISK.replace("/mnt", "/srv"), [ROOT, DISK], "/mnt/vol"),
        (
            DISK.replace("/mnt", "/srv"),
            [ROOT, DISK.replace(" / /mnt", " /vol /mnt/other")],
            "/mnt/other",
        ),
        # The host has it under another mount, or shows only what is beside it, or nothing.
        (
            DISK.replace("/mnt", "/srv"),
            [ROOT, DISK, "22 21 0:9 / /mnt rw - tmpfs none rw", DISK.replace("/mnt", "/two")],
            "/two/vol",
        ),
        (DISK.replace("/mnt", "/srv"), [ROOT, DISK.replace(" / /mnt", " /vol2 /mnt")], "/srv/vol"),
        (DISK.replace("/mnt", "/srv"), [], "/srv/vol"),
    ],
)
def test_folder_is_found_where_the_host_has_it(
    monkeypatch: pytest.MonkeyPatch, own: str, hosts: list[str], seen: str
) -> None:
    """And what is in it; what is not told is taken for the same."""
    monkeypatch.setattr(mounts, "read", lambda pid: "\n".join([own, *hosts][pid:]).encode())
    (here,) = mounts.table(0)[:1]
    monkeypatch.setattr(mounts, "holding", lambda _: here)
    found = outside.look([Path("/srv/vol")])
    assert found.path("/srv/vol") == seen
    assert found.path("/srv/vol/a/b") == f"{seen}/a/b"
    assert found.path("/elsewhere") in ("/elsewhere", "/plugin/rootfs/elsewhere")
    assert found.path("") == ""
