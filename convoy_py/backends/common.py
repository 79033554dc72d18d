"""What backends share: data that trades places, owners and modes, and what they all refuse."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from convoy_py.backends.base import Place
from convoy_py.errors import ConvoyError, DataDiffers, OperationFailed, Unsettled, Unsupported
from convoy_py.linux import btrfs, files, mounts
from convoy_py.models.volume import Options, Spec

_NAMED = 3


@contextmanager
def returning(done: str) -> Iterator[Callable[[], None]]:
    """A block with a point of no return: what it is given, it calls when that is passed.

    What fails after it raises Unsettled, which says what is `done`, such as `volume db has gone
    back`; so does what passed it without a word.
    """
    passed = False

    def passing() -> None:
        nonlocal passed
        passed = True

    try:
        yield passing
    except (OSError, ConvoyError) as error:
        if not passed and not isinstance(error, files.Unsettled):
            raise
        reason = (error.strerror or error) if isinstance(error, OSError) else error
        raise Unsettled(
            f"{done}, but something failed then, and a power cut may undo it: {reason}"
        ) from error


def put_in_place(new: Path, old: Path, passed: Callable[[], None]) -> None:
    """Let the new and the old data of a volume trade names, durably; `passed` as in `returning`."""
    files.exchange(new, old)
    passed()  # the point of no return: the volume has the other data
    for folder in (old.parent, new.parent):
        files.fsync_dir(folder)


def refuse_changes(name: str, found: Spec, options: Options) -> None:
    """Raise DataDiffers if options ask for other than what is there to be adopted."""
    if differences := found.differences(options):
        raise DataDiffers(name, differences)


def refuse_nested(place: Place, folder: Path) -> None:
    """Raise Unsupported if a subvolume has others in it, which snapshots of it would leave out."""
    if found := btrfs.nested(folder):
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise Unsupported(
            f"{place}: a snapshot would leave out the btrfs subvolumes in it "
            f"({', '.join(found[:_NAMED])}{more}); make plain folders of them, or delete them with "
            "`btrfs subvolume delete`"
        )


def own(folder: int, spec: Spec, before: Spec | None = None) -> None:
    """Give an open folder the owner and mode of a spec, where they are not those of `before`."""
    uid, gid, mode = (
        None if before is not None and getattr(before, key) == wanted else wanted
        for key, wanted in (("uid", spec.uid), ("gid", spec.gid), ("mode", spec.mode))
    )
    if uid is not None or gid is not None:
        os.fchown(folder, -1 if uid is None else uid, -1 if gid is None else gid)
    if mode is not None:
        os.fchmod(folder, mode)
    os.fsync(folder)


def foreign_mount(place: Place) -> OperationFailed:
    """The error for something at the volume's mountpoint that is not the volume."""
    mount = mounts.holding(place.mountpoint)
    return OperationFailed(
        f"{place}: {mount.source} ({mount.fstype}) is mounted over {place.mountpoint}; unmount it"
    )
