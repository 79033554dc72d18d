"""What lies in an image that was not made here."""

import stat
from pathlib import Path

from convoy_py.backends.base import Place
from convoy_py.backends.loopback import image
from convoy_py.backends.loopback.image import DATA, SNAPSHOTS
from convoy_py.linux import btrfs
from convoy_py.models.filesystem import Filesystem


def exposed_in(place: Place) -> str:
    """Which folder of an image's filesystem containers should see."""
    beside = {"lost+found", SNAPSHOTS} if place.spec.fs is Filesystem.BTRFS else {"lost+found"}
    with image.privately(place, "ro") as mountpoint:
        data = mountpoint / DATA
        if {entry.name for entry in mountpoint.iterdir()} - beside != {DATA}:
            return "."
        ours = is_folder(data) and (
            place.spec.fs is not Filesystem.BTRFS or btrfs.is_subvolume(data)
        )
        return DATA if ours else "."


def is_folder(path: Path) -> bool:
    """Whether it is a folder itself: what lies in an image is its users' and may be a link."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return False
