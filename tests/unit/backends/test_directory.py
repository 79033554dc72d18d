"""Directory volumes: mounted, limited, measured and deleted."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from convoy_py.backends.base import Place
from convoy_py.backends.directory import Directory
from convoy_py.errors import (
    Corrupt,
    OperationFailed,
)
from convoy_py.linux import mounts
from tests.unit.backends.conftest import MakePlace, Quotas

MIB = 1 << 20


# Mounted


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch, quotas: Quotas) -> set[Path]:
    """What is mounted, without the right to do so."""
    found: set[Path] = set()

    def bind(source: Path, target: Path, options: list[str]) -> None:
        found.add(target)
        quotas.calls.append(f"bind {','.join(options)}")

    monkeypatch.setattr(mounts, "bind", bind)
    monkeypatch.setattr(mounts, "is_mountpoint", found.__contains__)
    return found


class Table:
    """A table of mounts: what is at the mountpoint, and what paths lie on."""

    def __init__(self, shown: str, on: str) -> None:
        self.shown = _mount(shown) if shown else None
        self._on = _mount(on) if on else None
        self.devices: dict[Path, int] = {}

    def of(self, path: str) -> SimpleNamespace | None:
        assert path.startswith("/")
        return self._on

    def holding(self, path: Path) -> SimpleNamespace:
        return SimpleNamespace(device=self.devices.get(path, 0), source="foreign", fstype="x")


def _mount(text: str) -> SimpleNamespace:
    """From `fstype source root mountpoint`."""
    fstype, source, root, mountpoint = text.split()
    return SimpleNamespace(fstype=fstype, source=source, root=root, mountpoint=mountpoint)


@pytest.fixture
def theirs(place: MakePlace, allowed: Path) -> Place:
    """A volume in a user's folder, which another folder is mounted for."""
    found = place(path=str(allowed / "theirs"))
    found.mountpoint.mkdir(parents=True)
    (allowed / "theirs").mkdir()
    return found


@pytest.mark.parametrize(
    ("shown", "on"),
    [
        ("xfs /dev/sdb /x/theirs /", "xfs /dev/sdb /x /{}"),
        ("fuse host / /", "fuse host / /{}/theirs"),
    ],
)
def test_a_users_folder_is_known_by_the_table_of_mounts(
    backend: Directory,
    theirs: Place,
    bound: set[Path],
    monkeypatch: pytest.MonkeyPatch,
    allowed: Path,
    *,
    shown: str,
    on: str,
) -> None:
    """Its storage may hang: it is not asked."""
    _tabled(monkeypatch, Table(shown, on.format(str(allowed)[1:])))
    bound.add(theirs.mountpoint)
    asked, stat = list[Path](), Path.stat

    def looked(path: Path) -> os.stat_result:
        asked.append(path)
        return stat(path)

    monkeypatch.setattr(Path, "stat", looked)
    assert backend.is_mounted(theirs)
    assert theirs.mountpoint not in asked


@pytest.mark.parametrize(
    ("shown", "on", "here", "around", "ours"),
    [
        ("", "xfs /dev/sdb / /", 1, 2, True),
        ("xfs /dev/sdb /x /", "", 1, 2, True),
        ("xfs /dev/sdb /old /", "xfs /dev/sdb / /", 1, 2, True),
        ("xfs /dev/sdb /old /", "xfs /dev/sdb / /", 2, 1, True),
        ("xfs /dev/sdb /old /", "xfs /dev/sdb / /", 2, 3, False),
    ],
)
def test_what_is_mounted_for_a_folder_that_was_replaced_is_ours(
    backend: Directory,
    theirs: Place,
    bound: set[Path],
    monkeypatch: pytest.MonkeyPatch,
    *,
    shown: str,
    on: str,
    here: int,
    around: int,
    ours: bool,
) -> None:
    """If it lies on the filesystem of the folder of this name, or of the one around that."""
    table = Table(shown, on)
    _tabled(monkeypatch, table)
    folder = Path(theirs.spec.path or "")
    table.devices = {theirs.mountpoint: 1, folder: here, folder.parent: around}
    assert not backend.is_mounted(theirs)
    bound.add(theirs.mountpoint)
    if ours:
        assert backend.is_mounted(theirs)
        return
    with pytest.raises(OperationFailed, match=r"foreign .* is mounted over"):
        backend.is_mounted(theirs)


def _tabled(monkeypatch: pytest.MonkeyPatch, table: Table) -> None:
    monkeypatch.setattr(mounts, "find", lambda _: table.shown)
    monkeypatch.setattr(mounts, "Covers", lambda: table)
    monkeypatch.setattr(mounts, "holding", table.holding)


def test_a_folder_of_ours_is_known_by_its_identity(
    backend: Directory, place: MakePlace, bound: set[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was deleted meanwhile is ours still."""
    _tabled(monkeypatch, Table("", ""))
    db = place()
    (db.home / "data").mkdir()
    other = replace(db, mountpoint=db.home)
    bound.update({db.mountpoint, other.mountpoint})
    with pytest.raises(OperationFailed, match=r"foreign .* is mounted over"):
        backend.is_mounted(other)
    db.mountpoint.parent.mkdir(parents=True)
    db.mountpoint.symlink_to(db.home / "data")
    assert backend.is_mounted(db)
    (db.home / "data").rmdir()
    assert backend.is_mounted(other)


def test_only_a_users_storage_can_be_dead(
    backend: Directory, place: MakePlace, theirs: Place
) -> None:
    """Ours is the root's."""
    assert not backend.is_dead(theirs)
    theirs.mountpoint.rmdir()
    assert backend.is_dead(theirs)
    assert not backend.is_dead(place("ours"))


@pytest.mark.parametrize(
    ("mounted", "busy", "calls", "done"),
    [(True, False, ["unmount"], True), (True, True, ["unmount"], False), (False, True, [], True)],
)
def test_a_mount_that_is_busy_stays(
    backend: Directory,
    theirs: Place,
    quotas: Quotas,
    bound: set[Path],
    monkeypatch: pytest.MonkeyPatch,
    *,
    mounted: bool,
    busy: bool,
    calls: list[str],
    done: bool,
) -> None:
    """And what is not mounted is not unmounted."""

    def unmount(path: Path) -> bool:
        quotas.calls.append("unmount")
        return not busy

    _tabled(monkeypatch, Table("", ""))
    monkeypatch.setattr(mounts, "unmount_unless_busy", unmount)
    monkeypatch.setattr(mounts, "unmount", unmount)
    if mounted:
        bound.add(theirs.mountpoint)
    assert backend.unmount(theirs) is done
    assert quotas.calls == calls
    backend.abandon(theirs)
    assert quotas.calls == calls * 2


@pytest.mark.parametrize(
    ("spec", "btrfs", "limits"),
    [
        ({"size": MIB, "project": 7}, False, ["limit 1048576"]),
        ({"inodes": 9, "project": 7}, False, ["limit None"]),
        ({"size": MIB, "grows_from": 2 * MIB}, True, ["limit 1048576"]),
        ({"size": MIB}, True, []),
        ({}, False, []),
    ],
)
def test_a_limit_that_may_have_been_lifted_is_set_before_a_mount(
    backend: Directory,
    place: MakePlace,
    quotas: Quotas,
    bound: set[Path],
    *,
    spec: dict[str, int],
    btrfs: bool,
    limits: list[str],
) -> None:
    """By a rollback or a resize that was cut off; where quotas are off now, it is served still."""
    db = place(**spec)
    with pytest.raises(Corrupt, match=r"its folder .* is missing"):
        backend.mount(db)
    assert quotas.calls == []
    (db.home / "data").mkdir()
    quotas.btrfs = btrfs
    backend.mount(db)
    assert quotas.calls == [*limits, "bind nosuid,nodev"]
    bound.clear()
    quotas.calls.clear()
    quotas.works = False
    backend.mount(db)
    assert quotas.calls == ["bind nosuid,nodev"]


def test_a_snapshot_is_bound_read_only_and_has_no_limit(
    backend: Directory, place: MakePlace, quotas: Quotas, bound: set[Path]
) -> None:
    """Though it bears what its volume had."""
    taken = place("s", within=place(), size=MIB, project=7)
    (taken.home / "data").mkdir()
    backend.mount(taken)
    assert quotas.calls == ["bind nosuid,nodev,ro"]


def test_no_limit_is_that_of_another_volume(
    backend: Directory, place: MakePlace, quotas: Quotas
) -> None:
    """The next project is taken where one has bytes or files already."""
    numbers: list[int] = []
    for name, used in (("a", None), ("b", (0, 1)), ("c", (4096, 0))):
        if used:
            quotas.used[numbers[-1]] = used
        spec = backend.create(place(name, size=MIB, inodes=9))
        assert spec.project is not None
        numbers.append(spec.project)
        assert quotas.limits[spec.project] == (MIB, 10)
    assert [number - numbers[0] for number in numbers] == [0, 1, 2]


def test_a_volume_without_limits_is_in_no_project(
    backend: Directory, place: MakePlace, quotas: Quotas
) -> None:
    """Nor is a subvolume, whose quota is its own."""
    db = place()
    assert backend.create(db).project is None
    assert quotas.calls == []
    assert (db.home / "data").is_dir()


# Measured


@pytest.mark.parametrize(
    ("spec", "used", "available", "inodes_available"),
    [
        ({"size": 64 * MIB, "project": 7}, (24 * MIB, 5), 40 * MIB, 500),
        ({"size": 64 * MIB, "project": 7}, (80 * MIB, 5), 0, 500),
        ({"size": 900 * MIB, "project": 7}, (0, 5), 100 * MIB, 500),
        ({"size": 64 * MIB, "inodes": 9, "project": 7}, (0, 5), 64 * MIB, 5),
        ({"inodes": 9, "project": 7}, (MIB, 0), 100 * MIB, 9),
        ({"inodes": 900, "project": 7}, (MIB, 0), 100 * MIB, 500),
        # Of a root that was moved to btrfs, which does not count files.
        ({"size": 64 * MIB, "inodes": 9}, (MIB, 5), 63 * MIB, 500),
    ],
)
def test_what_a_limit_and_the_host_leave_is_available(
    backend: Directory,
    place: MakePlace,
    quotas: Quotas,
    monkeypatch: pytest.MonkeyPatch,
    *,
    spec: dict[str, int],
    used: tuple[int, int],
    available: int,
    inodes_available: int,
) -> None:
    """The folder itself is none of its files."""
    host = SimpleNamespace(f_bavail=100, f_frsize=MIB, f_files=1000, f_favail=500)
    monkeypatch.setattr(os, "statvfs", lambda _: host)
    quotas.used = {7: used, "subvolume": used}
    usage = backend.usage(place(**spec), 0.0)
    assert (usage.size, usage.used, usage.allocated) == (spec.get("size"), used[0], used[0])
    assert (usage.available, usage.inodes_available) == (available, inodes_available)
    assert usage.inodes_used == (max(0, used[1] - 1) if "project" in spec else None)


@pytest.mark.parametrize("limited", [True, False])
@pytest.mark.parametrize(("inodes", "left"), [(1000, 500), (0, None)])
def test_what_has_no_limit_is_counted_file_by_file(
    backend: Directory,
    place: MakePlace,
    quotas: Quotas,
    monkeypatch: pytest.MonkeyPatch,
    *,
    limited: bool,
    inodes: int,
    left: int | None,
) -> None:
    """As a snapshot of a limited volume is; on btrfs there are as many inodes as one likes."""
    host = SimpleNamespace(f_bavail=100, f_frsize=MIB, f_files=inodes, f_favail=500)
    monkeypatch.setattr(os, "statvfs", lambda _: host)
    spec = {"size": MIB, "project": 7} if limited else {}
    found = place("s", within=place() if limited else None, **spec)
    (found.home / "data").mkdir()
    (found.home / "data/file").write_bytes(b"x" * 8192)
    usage = backend.usage(found, 0.0)
    assert usage.used is not None
    assert usage.used >= 8192
    assert (usage.size, usage.inodes_used) == (None, None)
    assert (usage.available, usage.inodes_available) == (100 * MIB, left)


# Deleted


@pytest.mark.parametrize(
    ("recorded", "found", "lifted"),
    [(7, 7, [7]), (7, 8, [8]), (7, 0, []), (7, None, []), (None, 7, [])],
)
def test_a_project_that_goes_leaves_no_limit(
    backend: Directory,
    place: MakePlace,
    quotas: Quotas,
    recorded: int | None,
    found: int | None,
    lifted: list[int],
) -> None:
    """It is the folder's own: a copy that was cut off bears the record of another volume."""
    db = place(project=recorded)
    if found is not None:
        (db.home / "data").mkdir()
        quotas.assign(db.home / "data", found)
    for _ in range(2):
        backend.destroy(db)
    assert not db.home.exists()
    assert quotas.limits == dict.fromkeys(lifted, (None, None))
