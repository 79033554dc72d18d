"""What lies in images, and what is done to it, as folders of a host that has no loop devices."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convoy_py.backends.base import Place
from convoy_py.backends.loopback import image as images


def uncounted(_: int) -> None:
    """A step of work that nobody follows."""


def filled(place: Place, content: str) -> Place:
    """The place, with this at the beginning of its image."""
    with images.path(place).open("r+b") as file:
        file.write(content.encode())
    return place


def content(place: Place) -> str:
    """What `filled` has written, up to 6 letters."""
    with images.path(place).open("rb") as file:
        return file.read(6).rstrip(b"\0").decode()


class Host:
    """What images lie on, and what is done to filesystems in them; in `calls` in which order."""

    def __init__(self, top: Path) -> None:
        self.top = top  # of each filesystem that is mounted
        self.reflinks = True
        self.failing = ""
        self.calls: list[str] = []

    def does(self, what: str) -> None:
        self.calls.append(what)
        if self.failing and what.startswith(self.failing):
            raise OSError(5, "Input/output error")

    @contextmanager
    def privately(self, place: Place, *options: str) -> Iterator[Path]:
        self.does(" ".join(["private", *options]))
        yield self.top

    def snapshot(self, source: Path, target: Path, *, read_only: bool) -> None:
        self.does(f"snapshot {source.name} {'ro' if read_only else 'rw'}")
        target.mkdir()
        (target / "file").write_text((source / "file").read_text())

    def delete(self, path: Path) -> None:
        if not path.exists():
            raise FileNotFoundError(path)
        self.does(f"delete {(path / 'file').read_text()}")
        shutil.rmtree(path)
