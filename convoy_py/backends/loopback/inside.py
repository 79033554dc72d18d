"""What lies in a btrfs image: the volume's data, a subvolume, and beside it its snapshots.

/data                   what containers see
/snapshots/<uuid>       read-only, one for each snapshot; its home holds nothing but the record
/.new-<id>              left by a rollback that was cut off: the data of before, or a copy
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from convoy_py.backends.base import Place
from convoy_py.backends.common import refuse_nested
from convoy_py.backends.loopback import image
from convoy_py.backends.loopback.image import DATA, SNAPSHOTS
from convoy_py.errors import Unsupported
from convoy_py.linux import btrfs, files, trees
from convoy_py.linux.reflink import Step
from convoy_py.models.filesystem import Filesystem

_STAGED = ".new-"


@contextmanager
def top(volume: Place) -> Iterator[Path]:
    """The top of the image's filesystem, to be changed while the block runs."""
    if image.is_mounted(volume) and "ro" not in (volume.spec.mount_options or ()):
        yield volume.mountpoint
    else:
        with image.privately(volume) as mountpoint:
            yield mountpoint


def is_ours(volume: Place) -> bool:
    """Whether it is a btrfs image that is laid out like this, and none of someone else."""
    return volume.spec.fs is Filesystem.BTRFS and volume.spec.exposed == DATA


def refuse_foreign(volume: Place) -> None:
    """Raise Unsupported for a btrfs image of someone else, which has its data at the top."""
    if not is_ours(volume):
        raise Unsupported(
            f"{volume}: its btrfs was made by someone else, with no subvolume {DATA} to take "
            "snapshots of; `convoy clone` it into a volume of its own first"
        )


def take(volume: Place, snapshot: Place) -> None:
    refuse_foreign(volume)
    with top(volume) as folder:
        refuse_nested(volume, folder / DATA)
        (folder / SNAPSHOTS).mkdir(mode=0o700, exist_ok=True)
        btrfs.snapshot(folder / DATA, folder / SNAPSHOTS / snapshot.uuid, read_only=True)


def withdraw(volume: Place, snapshot: Place, passed: Callable[[], None]) -> None:
    """Delete a snapshot, if there is one, durably: without its record nobody would find it.

    `passed` is called when it is gone.
    """
    if not image.path(volume).exists():
        return
    with top(volume) as folder, suppress(FileNotFoundError):
        btrfs.delete_subvolume(folder / SNAPSHOTS / snapshot.uuid)
        passed()
        files.sync_filesystem(folder)


def put_back(folder: Path, snapshot: Place) -> Path:
    """Make the data a writable copy of a snapshot, at once; `folder` is the top.

    Returns where that lies now which was the data: to be deleted once this is on the disk, which
    `sweep` does if nobody else does.
    """
    staged = _staged(folder)
    btrfs.snapshot(folder / SNAPSHOTS / snapshot.uuid, staged, read_only=False)
    files.exchange(staged, folder / DATA)
    return staged


def copied(folder: Path, source: Path, step: Step) -> Path:
    """Copy files of elsewhere into a subvolume beside the data, durably; `folder` is the top.

    Returns where they are, for the two to be exchanged; `sweep` deletes what failed.
    """
    staged = _staged(folder)
    btrfs.create_subvolume(staged)
    trees.copy(source, staged, step)
    return staged


def part_from(folder: Path) -> None:
    """Delete the snapshots in a clone, which has none."""
    files.remove_tree(folder / SNAPSHOTS)


def _staged(folder: Path) -> Path:
    return folder / f"{_STAGED}{secrets.token_hex(8)}"


def sweep(folder: Path) -> None:
    """Delete what a rollback left that was cut off; `folder` is the top."""
    for path in folder.glob(f"{_STAGED}*"):
        btrfs.delete_subvolume(path)
