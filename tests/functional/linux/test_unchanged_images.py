"""Images that were only mounted since a snapshot: told as that, and nothing else is."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from convoy_py.linux import changes
from tests.functional.linux.snapshotted import (
    IMAGES,
    SEED,
    Image,
    MakeVolume,
    Volume,
    Writer,
    Xfs,
    run,
)

pytestmark = pytest.mark.root


def is_unchanged(volume: Volume, old: Path, new: Path) -> bool:
    with volume.changes(old, new) as hook:
        return hook is changes.unchanged


def _write_a_byte(top: Path) -> None:
    """With the times of before."""
    file = top / "file-1"
    times = file.stat()
    with file.open("r+b") as opened:
        byte = opened.read(1)
        opened.seek(0)
        opened.write(bytes([byte[0] ^ 1]))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


_CHANGES: list[Callable[[Path], object]] = [
    _write_a_byte,
    lambda top: (top / "file-1").chmod(0o4711),
    lambda top: os.chown(top / "file-1", 1, 2),
    lambda top: os.setxattr(top / "file-1", "user.x", b"y"),
    lambda top: os.utime(top / "file-1", (1, 1)),
    lambda top: (top / "file-1").rename(top / "file-2"),
    lambda top: os.link(top / "file-0", top / "linked"),
    lambda top: (top / "broken").symlink_to("nowhere"),
    lambda top: (top / "empty").touch(),
    lambda top: (top / "new").mkdir(),
    lambda top: os.mknod(top / "fifo", 0o010600),
    lambda top: (top / "empty").unlink(),
    lambda top: top.chmod(0o711),
]


@pytest.mark.parametrize(("kind", "host"), IMAGES)
def test_image_is_unchanged_until_anything_changes(
    kind: type[Image], host: str, make_volume: MakeVolume
) -> None:
    """That they were mounted meanwhile is no change."""
    volume = make_volume(kind, host)
    assert isinstance(volume, Image)
    Writer(volume, SEED)
    old = volume.snapshot()
    run("umount", volume.live)
    run("mount", "-o", "loop", volume.image, volume.live)
    new = volume.snapshot()
    assert is_unchanged(volume, old, new)
    with changes.of_images(old, new / "folder", *volume.images(old, new)) as hook:
        assert hook is not changes.unchanged
    for number, change in enumerate(_CHANGES):
        volume.drop(old)
        old = new
        change(volume.live)
        new = volume.snapshot()
        assert not is_unchanged(volume, old, new), number
    for snapshot in (old, new):
        volume.drop(snapshot)


def test_what_may_be_in_memory_alone_is_no_unchanged_image(
    make_volume: MakeVolume,
) -> None:
    """Of a file that was written the image knows nothing yet."""
    volume = make_volume(Xfs, "xfs")
    (volume.live / "file").write_bytes(b"before")
    old, new = volume.snapshot(), volume.snapshot()
    run("umount", new)
    run("mount", "-o", "loop,nouuid", new.parent / "image", new)
    with (new / "file").open("r+b") as file:
        file.write(b"after")
    assert not is_unchanged(volume, old, new)
    for snapshot in (old, new):
        volume.drop(snapshot)
