"""The table of cases, and hosts of every filesystem for them to lie on."""

import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from convoy_py.backends import BACKENDS
from convoy_py.linux import filesystems, loop, mounts
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import Options
from tests.conformance.bed import MIB, Bed, Case, Host
from tests.conformance.servers import rest_served, s3_served
from tests.conformance.third import TREE, Third

HOST_SIZE = 4096 * MIB
FILESYSTEMS = tuple(Filesystem)
ANYWHERE = frozenset({"ext4", "xfs", "btrfs"})


def _image(fs: Filesystem, *, sparse: bool) -> Case:
    return Case(
        name=f"{fs}-{'sparse' if sparse else 'reserved'}",
        build=BACKENDS["loopback"],
        data="image",
        options=Options(fs=fs, size=filesystems.MINIMUM[fs] + 48 * MIB, sparse=sparse),
        limited_on=ANYWHERE,
    )


CASES = (
    Case("third", Third, TREE, is_resizable=False),
    Case("directory", BACKENDS["directory"], "data", limited_on=frozenset({"btrfs"})),
    *(_image(fs, sparse=True) for fs in FILESYSTEMS),
    _image(Filesystem.EXT4, sparse=False),
)


@pytest.fixture(scope="session", params=["own", *FILESYSTEMS])
def host(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    """The temporary folder as it is, and a filesystem of each kind in an image."""
    folder = tmp_path_factory.mktemp("host").resolve()
    if request.param == "own":
        yield Host(folder, mounts.holding(folder).fstype)
        return
    image, root = folder / "image", folder / "root"
    root.mkdir()
    with image.open("wb") as file:
        file.truncate(HOST_SIZE)
    filesystems.make(request.param, image, HOST_SIZE, uuid=str(uuid4()))
    with image.open("r+b") as file:
        device, fd = loop.attach(file.fileno(), tag="test-host")
    with open(fd, "rb"):
        mounts.mount(device.path, root, request.param, ())
    try:
        yield Host(root, request.param)
    finally:
        _taken_down(root)
        image.unlink()


def _taken_down(root: Path) -> None:
    """Unmount; lazily, if a test that failed left something that holds it."""
    if subprocess.run(["umount", root], check=False).returncode:
        subprocess.run(["umount", "-l", root], check=True)


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture
def bed(host: Host, case: Case) -> Iterator[Bed]:
    with closing(Bed(host, case)) as bed:
        yield bed


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3 service with a bucket."""
    with s3_served(tmp_path_factory.mktemp("weed")) as address:
        yield address


@pytest.fixture(scope="session")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of what is to its clients the storage service of Google, with a bucket."""
    with s3_served(tmp_path_factory.mktemp("weed"), to_all=True) as address:
        yield address


@pytest.fixture(scope="session")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a REST server, and the folder that it serves."""
    folder = tmp_path_factory.mktemp("rclone")
    with rest_served(folder) as address:
        yield address, folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tests", folder], check=True)
    try:
        yield folder
    finally:
        _taken_down(folder)
