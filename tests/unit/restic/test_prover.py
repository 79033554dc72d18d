"""What is not as the backup has it is told, whatever it is; and nothing else is."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from convoy_py.restic.archive import DATA
from convoy_py.restic.prover import differences
from convoy_py.restic.repository import Repository
from convoy_py.restic.restorer import find
from tests.archiving import archived, ignore, restored


@pytest.fixture
def proved(repository: Repository, source: Path, target: Path) -> Callable[[], list[str]]:
    """Compares the folder, as it was restored, with the backup."""
    tree = archived(repository, source).tree
    restored(repository, tree, target)
    data = find(repository, tree, [DATA])
    return lambda: list(differences(repository, data, target, ignore))


def test_what_was_restored_is_proven(proved: Callable[[], list[str]]) -> None:
    assert proved() == []


def replaced(path: Path, make: Callable[[Path], object]) -> None:
    """With the time of the folder as it was."""
    folder = path.parent.stat()
    path.unlink()
    make(path)
    os.utime(path.parent, ns=(folder.st_atime_ns, folder.st_mtime_ns))


def quietly(path: Path, change: Callable[[Path], object]) -> None:
    """Change a file, and give it the time back that it had."""
    found = path.stat()
    change(path)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def flipped(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(2_000_000)
        byte = file.read(1)
        file.seek(2_000_000)
        file.write(bytes([byte[0] ^ 1]))


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda top: quietly(top / "large", flipped), ["large: content from byte 1572864 on"]),
        (lambda top: quietly(top / "large", lambda p: os.truncate(p, 99)), ["large: size"]),
        (lambda top: quietly(top / "empty", lambda p: p.write_bytes(b"x")), ["empty: size"]),
        (lambda top: quietly(top / "large", lambda p: p.chmod(0o611)), ["large: mode"]),
        (lambda top: top.chmod(0o700), [".: mode"]),
        (lambda top: os.utime(top / "large", ns=(5, 5)), ["large: time"]),
        (
            lambda top: os.utime(top / "broken", ns=(5, 5), follow_symlinks=False),
            ["broken: time", "folder/same broken: time"],
        ),
        (lambda top: os.utime(top / "folder/below", ns=(5, 5)), ["folder/below: time"]),
        (
            lambda top: quietly(top / "large", lambda p: os.setxattr(p, "user.more", b"")),
            ["large: attributes"],
        ),
        (lambda top: os.removexattr(top / "folder", "user.note"), ["folder: attributes"]),
        (lambda top: replaced(top / "large", lambda p: None), ["large: gone"]),
        (lambda top: replaced(top / "large", Path.mkdir), ["large: type"]),
        (lambda top: replaced(top / "fifo", a_socket), ["fifo: type"]),
        (lambda top: replaced(top / "absolute", lambda p: p.symlink_to("/etd")), None),
        (
            lambda top: quietly(top / "folder", lambda p: (p / "more").touch()),
            ["folder/more: not in the backup"],
        ),
    ],
)
def test_whatever_is_not_so_is_told(
    proved: Callable[[], list[str]],
    target: Path,
    harm: Callable[[Path], object],
    told: list[str] | None,
) -> None:
    harm(target)
    assert proved() == (told or ["absolute: time, target"])


def test_names_of_one_file_are_of_one_file(proved: Callable[[], list[str]], target: Path) -> None:
    """And a file of its own is none of them."""
    content, found = (target / "file").read_bytes(), (target / "file").stat()

    def copied(path: Path) -> None:
        path.write_bytes(content)
        path.chmod(found.st_mode)
        os.setxattr(path, "user.note", os.getxattr(target / "file", "user.note"))
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))

    replaced(target / "folder/same", copied)
    assert proved() == ["folder/same: links"]


@pytest.mark.root
def test_owners_and_devices_are_compared(repository: Repository, tmp_path: Path) -> None:
    top, target = tmp_path / "top", tmp_path / "into"
    top.mkdir()
    target.mkdir()
    (top / "file").touch()
    os.mknod(top / "null", 0o20600, os.makedev(1, 3))
    tree = archived(repository, top).tree
    restored(repository, tree, target)
    data = find(repository, tree, [DATA])
    assert list(differences(repository, data, target, ignore)) == []
    os.chown(target / "file", 7, 0)
    replaced(target / "null", lambda p: os.mknod(p, 0o20600, os.makedev(1, 5)))
    found = (top / "null").stat()
    os.utime(target / "null", ns=(found.st_atime_ns, found.st_mtime_ns))
    assert list(differences(repository, data, target, ignore)) == ["file: owner", "null: device"]
