"""One volume's surroundings on the temporary folder's own filesystem."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from uuid import uuid4

import pytest

from convoy_py.backends import BACKENDS
from convoy_py.backends.directory import Directory
from convoy_py.linux import filesystems, loop, mounts
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import Options
from tests.conformance.bed import MIB, Bed, Case, Host

MakeBed = Callable[[Case], Bed]


@pytest.fixture
def make_bed(tmp_path: Path) -> Iterator[MakeBed]:
    with ExitStack() as stack:
        host = Host(tmp_path, mounts.holding(tmp_path).fstype)
        yield lambda case: stack.enter_context(closing(Bed(host, case)))


@pytest.fixture
def make_bed_on_xfs(tmp_path: Path) -> Iterator[MakeBed]:
    """The same on a host on which files share blocks."""
    image, root = tmp_path / "image", tmp_path / "root"
    root.mkdir()
    with image.open("w+b") as file:
        file.truncate(1024 * MIB)
        filesystems.make("xfs", image, 1024 * MIB, uuid=str(uuid4()))
        device, fd = loop.attach(file.fileno(), tag="test-host")
    with open(fd, "rb"):
        mounts.mount(device.path, root, "xfs", ())
    try:
        with ExitStack() as stack:
            yield lambda case: stack.enter_context(closing(Bed(Host(root, "xfs"), case)))
    finally:
        subprocess.run(["umount", "-l", root], check=True)


@pytest.fixture(params=list(Filesystem))
def bed(request: pytest.FixtureRequest, make_bed: MakeBed) -> Bed:
    """For loopback volumes of each filesystem."""
    size = 320 * MIB if request.param is Filesystem.XFS else 160 * MIB
    options = Options(fs=request.param, size=size)
    return make_bed(Case("loopback", BACKENDS["loopback"], "image", options))


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    """A folder below which the administrator allows volumes."""
    folder = tmp_path / "allowed"
    folder.mkdir()
    return folder


@pytest.fixture
def folders(make_bed: MakeBed, allowed: Path) -> Bed:
    """For directory volumes."""
    return make_bed(Case("directory", lambda s: Directory(s.root, (allowed,)), "data"))
