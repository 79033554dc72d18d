"""One file or folder of a tree, put into another in the place of what is there."""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PurePath

from convoy_py.linux import beneath, files, libc, mounts
from convoy_py.linux.descriptors import closing, opened
from convoy_py.linux.reflink import Step
from convoy_py.linux.trees import copying
from convoy_py.linux.trees.attributes import Attributes
from convoy_py.linux.walk import FOLDER, Walk, named

# What rename(2) says of a folder that is not empty, and of a folder and a file.
_NOT_REPLACED = (errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR)


def copy_one(
    source: Path, relative: PurePath, target: Path, step: Step, temporary: str = ""
) -> None:
    """Put the file or folder `relative` of the tree `source` into the tree `target`, same place.

    It is built beside and takes the place of what is there in one step: before or after, never
    between. Folders on the way are made like those in `source` if they are missing; no link is
    followed. Survives a power cut on return; nothing is left of what failed. What a crash leaves
    bears the name `temporary`, a new one where none is given: see `remove_one`.

    Raises OSError: FileNotFoundError if `source` has no such path, EBUSY if something is mounted
    at or below its place in `target`; files.Unsettled if it has taken its place but something
    failed after that, and then what was there before may be `temporary`.
    """
    if relative.is_absolute() or ".." in relative.parts or not relative.name:
        raise OSError(errno.EINVAL, "not a path below the top of the tree", str(relative))
    with (
        _open_path(source, relative) as one,
        _parents(source, relative.parent, target) as place,
    ):
        for mount in mounts.below(target / relative):
            raise OSError(errno.EBUSY, "something is mounted here", mount.mountpoint)
        temporary = temporary or f".restore-{secrets.token_hex(8)}"
        try:
            guards = _build(one, place, temporary, step, source / relative)
            libc.call("syncfs", place, about=str(target))
            with named(lambda: target / relative):
                _put(place, temporary, relative.name)
        except BaseException:
            _remove(place, temporary)
            raise
        # The point of no return is passed: until that is on the disk, what was there stays.
        try:
            with named(lambda: target / relative):
                _set_guards(place, relative.name, guards)
            os.fsync(place)
            _remove(place, temporary)
        except OSError as error:
            raise files.Unsettled.after(error, target / relative) from error


def has(tree: Path, relative: PurePath) -> bool:
    """Whether the tree has anything at that path; no link is followed."""
    try:
        with _open_path(tree, relative):
            return True
    except FileNotFoundError:
        return False


def remove_one(target: Path, relative: PurePath) -> None:
    """Delete the file or folder `relative` of a tree, if it is there; no link is followed.

    What is beside it is on the disk first, for that may have taken its place.
    """
    try:
        with beneath.opened(target, relative.parent, os.O_RDONLY) as place:
            os.fsync(place)
            _remove(place, relative.name)
    except OSError as error:
        # Users may have taken away what is on the way, or put something else there.
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV):
            raise


@contextmanager
def _open_path(source: Path, relative: PurePath) -> Iterator[int]:
    """An O_PATH descriptor of whatever lies there."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(beneath.opened(source, relative.parent))
            one = os.open(relative.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            stack.enter_context(closing(one))
        except (FileNotFoundError, NotADirectoryError) as error:
            reason = f"{source} has no such file or folder"
            raise FileNotFoundError(errno.ENOENT, reason, str(relative)) from error
        yield one


@contextmanager
def _parents(source: Path, relative: PurePath, target: Path) -> Iterator[int]:
    """The folder `relative` of `target`, open for reading; what is missing is made as in `source`.

    What was made is removed again if the block fails.
    """
    made: list[PurePath] = []
    try:
        for folder in (*reversed(relative.parents), relative):
            if folder.name:
                _make_folder(source, folder, target, made)
        with beneath.opened(target, relative, os.O_RDONLY) as found:
            yield found
    except BaseException:
        for folder in reversed(made):
            with suppress(OSError), beneath.opened(target, folder.parent) as above:
                os.rmdir(folder.name, dir_fd=above)
        raise


def _make_folder(source: Path, relative: PurePath, target: Path, made: list[PurePath]) -> None:
    with (
        beneath.opened(target, relative.parent) as above,
        beneath.opened(source, relative, os.O_RDONLY) as model,
    ):
        try:
            os.mkdir(relative.name, 0o700, dir_fd=above)
        except FileExistsError:
            return
        made.append(relative)
        with opened(relative.name, FOLDER, folder=above) as folder:
            Attributes.of(model, os.fstat(model)).give(folder)


def _build(source: int, place: int, name: str, step: Step, path: Path) -> int:
    """Copy what `source`, an O_PATH descriptor, stands for; what is to guard it in the end."""
    found = os.fstat(source)
    if not stat.S_ISDIR(found.st_mode):
        with named(lambda: path):
            return copying.file(source, found, place, name, step)
    os.mkdir(name, 0o700, dir_fd=place)
    with (
        Walk(os.open(".", FOLDER, dir_fd=source)) as origin,
        Walk(os.open(name, FOLDER, dir_fd=place)) as copied,
    ):
        return copying.Copy(origin, copied, step, path).folder()


def _put(place: int, temporary: str, name: str) -> None:
    """Give what was built its name; what bears that and cannot be replaced is `temporary` then."""
    try:
        os.rename(temporary, name, src_dir_fd=place, dst_dir_fd=place)
    except OSError as error:
        if error.errno not in _NOT_REPLACED:
            raise
        folder = Path(f"/proc/self/fd/{place}")
        files.exchange(folder / temporary, folder / name)


def _set_guards(place: int, name: str, guards: int) -> None:
    if not guards:
        return
    if stat.S_ISDIR(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode):
        with opened(name, FOLDER, folder=place) as folder:
            files.set_guards(folder, guards)
    else:
        copying.set_guards(place, name, guards)


def _remove(place: int, name: str) -> None:
    with suppress(FileNotFoundError):
        try:
            os.unlink(name, dir_fd=place)
        except IsADirectoryError:
            files.remove_tree_at(place, name)
