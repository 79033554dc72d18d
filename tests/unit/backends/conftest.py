"""Quotas, loop devices and places of volumes without a host."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from convoy_py.backends.base import Place
from convoy_py.backends.directory import Directory
from convoy_py.backends.loopback import Loopback
from convoy_py.backends.loopback import image as images
from convoy_py.linux import btrfs, files, filesystems, growing, loop, mounts, quota, reflink
from convoy_py.linux.holders import Census
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import Spec
from tests.unit.backends.fake_devices import Devices
from tests.unit.backends.fake_images import Host

UUID = "0b5ee0e8-0000-4000-8000-000000000000"
SIZE = 64 << 20
MakePlace = Callable[..., Place]


class Quotas:
    """Those of projects, or of subvolumes where the host is `btrfs`; in `calls` what was done."""

    def __init__(self) -> None:
        self.btrfs = False
        self.works = True
        self.unsynced = False  # whether a limit still needs a sync of the whole filesystem
        self.limits: dict[int | str, tuple[int | None, int | None]] = {}
        self.used: dict[int | str, tuple[int, int]] = {}
        self.calls: list[str] = []
        self._projects: dict[int, int] = {}

    def project(self, path: Path) -> int:
        return self._projects.get(path.stat().st_ino, 0)

    def assign(self, path: Path, project: int) -> None:
        self._projects[path.stat().st_ino] = project
        self.calls.append(f"assign {project}")

    def usage(self, path: Path, project: int) -> tuple[int, int]:
        return self.used.get(project, (0, 0))

    def limit(self, path: Path, project: int, limit: int | None, inodes: int | None = None) -> None:
        self._set(path, project, limit, inodes)

    def limit_subvolume(self, path: Path, limit: int | None) -> None:
        self._set(path, "subvolume", limit, None)
        self.unsynced = True

    def _set(self, path: Path, key: int | str, limit: int | None, inodes: int | None) -> None:
        if not self.works:
            raise OSError(errno.ESRCH, os.strerror(errno.ESRCH))
        assert path.is_dir()
        self.limits[key] = (limit, inodes)
        self.calls.append(f"limit {limit}")


@pytest.fixture
def quotas(monkeypatch: pytest.MonkeyPatch) -> Quotas:
    quotas = Quotas()
    for name in ("project", "assign", "usage"):
        monkeypatch.setattr(quota, name, getattr(quotas, name))
    monkeypatch.setattr(quota, "assign_tree", quotas.assign)
    monkeypatch.setattr(quota, "set_limit", quotas.limit)
    monkeypatch.setattr(quota, "support", lambda _: None if quotas.works else "no prjquota")
    monkeypatch.setattr(btrfs, "is_btrfs", lambda _: quotas.btrfs)
    monkeypatch.setattr(btrfs, "enable_quota", lambda _: quotas.calls.append("enable"))
    monkeypatch.setattr(btrfs, "set_limit", quotas.limit_subvolume)
    sync = files.sync_filesystem

    def synced(path: Path) -> None:
        quotas.unsynced = False
        sync(path)

    monkeypatch.setattr(files, "sync_filesystem", synced)
    monkeypatch.setattr(btrfs, "usage", lambda _: quotas.used["subvolume"][0])
    return quotas


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    """A folder below which the administrator allows volumes."""
    folder = tmp_path / "allowed"
    folder.mkdir()
    return folder


@pytest.fixture
def backend(tmp_path: Path, allowed: Path, quotas: Quotas) -> Directory:
    """Of directory volumes."""
    (tmp_path / "root/volumes").mkdir(parents=True)
    return Directory(tmp_path / "root", (allowed,))


@pytest.fixture
def place(tmp_path: Path) -> MakePlace:
    """Makes the place of a volume in a home that is there; what is given is its spec's."""

    def made(name: str = "db", within: Place | None = None, **spec: object) -> Place:
        home = tmp_path / "root/volumes" / name
        home.mkdir(parents=True)
        mountpoint = tmp_path / "mounts" / name
        found = Spec.model_validate({"backend": "directory", **spec})
        return Place(name, UUID, home, mountpoint, found, within)

    return made


@pytest.fixture
def image(place: MakePlace) -> MakePlace:
    """Makes the place of a volume in an image, which is there, or of a snapshot of one."""

    def made(name: str = "db", within: Place | None = None, **spec: object) -> Place:
        of_volume = {} if within is None else {"fs": within.spec.fs, "size": within.spec.size}
        given = {"backend": "loopback", "fs": Filesystem.EXT4, "size": SIZE, **of_volume, **spec}
        found = place(name, within, **given)
        if within is None or found.spec.fs is not Filesystem.BTRFS:
            with (found.home / "image").open("wb") as file:
                file.truncate(found.spec.size or 0)
        return found

    return made


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> Devices:
    host = Devices()
    monkeypatch.setattr(loop, "find", host.find)
    monkeypatch.setattr(loop, "attached", host.tagged)
    monkeypatch.setattr(loop, "look", host.look)
    monkeypatch.setattr(loop, "reopen", host.reopen)
    monkeypatch.setattr(loop, "attach", host.attach)
    monkeypatch.setattr(loop, "forbid_discard", lambda _: host.calls.append("no discards"))
    monkeypatch.setattr(mounts, "mount", host.mount)
    monkeypatch.setattr(mounts, "find", host.mounted_at)
    holding = mounts.holding
    monkeypatch.setattr(
        mounts, "holding", lambda path: host.mounts[-1] if host.mounts else holding(path)
    )
    monkeypatch.setattr(mounts, "read", bytes)
    monkeypatch.setattr(mounts, "lines_with", lambda *_: host.mounts)
    monkeypatch.setattr(filesystems, "sector_size", lambda *_: 512)
    monkeypatch.setattr(images, "_BETWEEN_LOOKS", 0)
    monkeypatch.setattr(Census, "take", host.census)
    return host


@pytest.fixture
def host(devices: Devices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path / "top")
    for folder, content in (("data", "now"), (f"snapshots/{UUID}", "before")):
        (host.top / folder).mkdir(parents=True)
        (host.top / folder / "file").write_text(content)
    exchange, sync = files.exchange, files.sync_filesystem

    def exchanged(one: Path, other: Path) -> None:
        host.does("exchange")
        exchange(one, other)

    def synced(path: Path) -> None:
        host.does("sync")
        sync(path)

    monkeypatch.setattr(files, "exchange", exchanged)
    monkeypatch.setattr(files, "sync_filesystem", synced)
    monkeypatch.setattr(images, "privately", host.privately)
    monkeypatch.setattr(btrfs, "snapshot", host.snapshot)
    monkeypatch.setattr(btrfs, "delete_subvolume", host.delete)
    monkeypatch.setattr(btrfs, "nested", lambda _: [])
    monkeypatch.setattr(filesystems, "new_identity", lambda *_: host.does("identity"))
    monkeypatch.setattr(growing, "bounds", lambda *_: (0, 8 * SIZE))
    monkeypatch.setattr(growing, "can_grow_online", lambda _: "the kernel is old")
    monkeypatch.setattr(growing, "grow_offline", lambda *_: host.does("grow"))
    monkeypatch.setattr(reflink, "support", lambda _: None if host.reflinks else "it has none")
    monkeypatch.setattr(reflink, "speed", lambda _: 1.0)
    return host


@pytest.fixture
def loopback(tmp_path: Path, host: Host) -> Loopback:
    return Loopback(tmp_path / "root", SIZE, Filesystem.EXT4)
