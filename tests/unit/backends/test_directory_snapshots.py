"""Snapshots, clones and rollbacks of directories: in which order, and under which limits."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from convoy_py.backends.base import Place
from convoy_py.backends.directory import Directory
from convoy_py.errors import ConvoyError, NoSpace, Unsettled, Unsupported
from convoy_py.linux import btrfs, files, quota, reflink, trees
from convoy_py.models.snapshot import Way
from convoy_py.models.volume import Spec
from tests.unit.backends.conftest import MakePlace, Quotas
from tests.unsynced import Unsynced

MIB = 1 << 20
PROJECT = {"size": 64 * MIB, "project": 7}


def uncounted(_: int) -> None:
    """A step of work that nobody follows."""


@pytest.fixture
def directory(tmp_path: Path, quotas: Quotas, monkeypatch: pytest.MonkeyPatch) -> Directory:
    """On a host whose subvolumes are folders that are marked as such."""
    copy, exchange = trees.copy, files.exchange

    def copied(source: Path, target: Path, step: reflink.Step, *, durable: bool = True) -> None:
        quotas.calls.append("copy")
        copy(source, target, step, durable=durable)

    def snapshot(source: Path, target: Path, *, read_only: bool) -> None:
        quotas.calls.append(f"snapshot {'ro' if read_only else 'rw'}")
        target.mkdir()
        copy(source, target, uncounted)

    def read_only(path: Path, *, on: bool) -> None:
        quotas.calls.append(f"read-only {on}")

    def exchanged(one: Path, other: Path) -> None:
        quotas.calls.append("exchange")
        exchange(one, other)

    monkeypatch.setattr(trees, "copy", copied)
    monkeypatch.setattr(files, "exchange", exchanged)
    monkeypatch.setattr(btrfs, "create_subvolume", Path.mkdir)
    monkeypatch.setattr(btrfs, "is_subvolume", lambda path: not (path / "plain").exists())
    monkeypatch.setattr(btrfs, "nested", lambda _: [])
    monkeypatch.setattr(btrfs, "snapshot", snapshot)
    monkeypatch.setattr(btrfs, "set_read_only", read_only)
    return Directory(tmp_path / "root")


def filled(place: Place, content: str = "now") -> Place:
    (place.home / "data").mkdir(parents=True)
    (place.home / "data/file").write_text(content)
    return place


# Copies


@pytest.mark.parametrize(
    ("host", "clone", "spec", "calls"),
    [
        ("projects", False, {"size": 64 * MIB}, ["copy"]),
        ("projects", True, {}, ["copy"]),
        ("projects", True, {"size": 64 * MIB}, ["assign", "limit 67108864", "copy"]),
        ("projects", True, {"inodes": 9}, ["assign", "limit None", "copy"]),
        ("btrfs", False, {"size": 64 * MIB}, ["snapshot ro", "read-only True"]),
        ("btrfs", True, {}, ["snapshot rw"]),
        ("btrfs", True, {"size": 64 * MIB}, ["snapshot rw", "enable", "limit 67108864"]),
        ("plain", False, {}, ["copy", "read-only True"]),
        ("plain", True, {}, ["copy"]),
    ],
)
def test_a_copy_is_limited_as_soon_as_it_can_be(
    directory: Directory,
    place: MakePlace,
    quotas: Quotas,
    host: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    clone: bool,
    spec: dict[str, int],
    calls: list[str],
) -> None:
    """Before files are copied one by one; a snapshot has none, and what it had is not its own."""
    quotas.btrfs = host != "projects"
    source = filled(place("source", **{**PROJECT, "grows_from": MIB}))
    if host == "plain":
        (source.home / "data/plain").touch()
    within = None if clone else source
    target = place("target", within=within, **{**spec, "project": 7, "grows_from": MIB})
    unsynced = Unsynced(monkeypatch)
    directory.copy(source, target, uncounted)
    found = directory.finish(source, target, uncounted)
    assert [call.replace(f" {found.project}", "") for call in quotas.calls] == calls
    assert (target.home / "data/file").read_text() == "now"
    assert (found.size, found.grows_from) == (spec.get("size"), None)
    assert not quotas.unsynced
    assert "copy" not in calls or unsynced.left() == set()
    assert (found.project not in (None, 7)) is (calls[0] == "assign")
    assert (found.project is None) is (calls[0] != "assign")


@pytest.mark.parametrize(
    ("used", "refused"), [((MIB, 4), ""), ((MIB + 1, 4), "holds"), ((MIB, 5), "holds 4 files")]
)
def test_what_went_beyond_the_limit_of_a_clone_is_none(
    directory: Directory,
    place: MakePlace,
    quotas: Quotas,
    monkeypatch: pytest.MonkeyPatch,
    used: tuple[int, int],
    refused: str,
) -> None:
    """A daemon is stopped by no quota of ext4."""
    source = filled(place("source"))
    target = place("target", size=MIB, inodes=3)
    directory.copy(source, target, uncounted)
    monkeypatch.setattr(quota, "usage", lambda *_: used)
    if not refused:
        directory.finish(source, target, uncounted)
        return
    with pytest.raises(NoSpace, match=f"volume source {refused}"):
        directory.finish(source, target, uncounted)


@pytest.mark.parametrize(
    ("clone", "size", "measured"),
    [(True, 5, True), (True, None, False), (True, 64 * MIB, False), (False, 5, False)],
)
def test_only_for_another_limit_the_files_of_a_subvolume_are_counted(
    directory: Directory,
    place: MakePlace,
    quotas: Quotas,
    monkeypatch: pytest.MonkeyPatch,
    *,
    clone: bool,
    size: int | None,
    measured: bool,
) -> None:
    """And before it is cloned: else it is done at once."""
    quotas.btrfs = True
    looks: list[Path] = []

    def measure(path: Path) -> tuple[int, int]:
        looks.append(path)
        return 1, 6

    monkeypatch.setattr(trees, "measure", measure)
    source = filled(place("source", size=64 * MIB))
    target = place("target", within=None if clone else source, size=size)
    if measured:
        with pytest.raises(NoSpace, match="volume source holds 6, more than 5"):
            directory.copy(source, target, uncounted)
        assert quotas.calls == []
    else:
        directory.copy(source, target, uncounted)
    assert bool(looks) is measured


def test_nested_subvolumes_are_refused_before_anything_is_done(
    directory: Directory, place: MakePlace, quotas: Quotas, monkeypatch: pytest.MonkeyPatch
) -> None:
    quotas.btrfs = True
    monkeypatch.setattr(btrfs, "nested", lambda _: ["sub"])
    source = filled(place("source"))
    with pytest.raises(Unsupported, match=r"leave out .*\(sub\)"):
        directory.copy(source, place("target", within=source), uncounted)
    assert quotas.calls == []


def test_a_users_folder_has_no_snapshots(directory: Directory, place: MakePlace) -> None:
    """It is the host's, also where that is a subvolume."""
    theirs = place("source", path="/srv/x")
    for refused in (
        lambda: directory.plan(theirs),
        lambda: directory.copy(theirs, place("target", within=theirs), uncounted),
    ):
        with pytest.raises(Unsupported, match="its data is the host's"):
            refused()


def test_a_users_folder_is_cloned_file_by_file(
    directory: Directory,
    place: MakePlace,
    quotas: Quotas,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also a subvolume: it may be another filesystem's, or another folder by now."""
    quotas.btrfs = True
    theirs = place("source", path=str(tmp_path / "theirs"))
    filled(replace(theirs, home=tmp_path / "theirs"))
    monkeypatch.setattr(Directory, "reading", lambda *_: nullcontext(tmp_path / "theirs/data"))
    target = place("target")
    directory.copy(theirs, target, uncounted)
    assert quotas.calls == ["copy"]
    assert (target.home / "data/file").read_text() == "now"


@pytest.mark.parametrize(
    ("spec", "possible"),
    [({}, True), ({"path": "/srv/x"}, False), ({"backend": "loopback"}, False)],
)
def test_a_clone_is_another_directory(
    directory: Directory, place: MakePlace, spec: dict[str, str], possible: bool
) -> None:
    wanted = Spec.model_validate({"backend": "directory", **spec})
    assert directory.clones(place(), wanted) is possible


# What is foretold


@pytest.mark.parametrize(
    ("host", "reflinks", "way", "instant"),
    [
        ("btrfs", True, Way.SUBVOLUME, True),
        ("plain", True, Way.FILES, False),
        ("projects", True, Way.FILES, False),
        ("projects", False, Way.COPY, False),
    ],
)
def test_how_a_snapshot_would_come_about_is_foretold(
    directory: Directory,
    place: MakePlace,
    quotas: Quotas,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    *,
    reflinks: bool,
    way: Way,
    instant: bool,
) -> None:
    quotas.btrfs = host != "projects"
    monkeypatch.setattr(reflink, "support", lambda _: None if reflinks else "it has none")
    monkeypatch.setattr(reflink, "speed", lambda _: 1.0)
    source = filled(place("source"))
    if host == "plain":
        (source.home / "data/plain").touch()
    for clone in (True, False):
        plan = directory.plan(source, clone=clone)
        assert (plan.way, plan.instant) == (way, instant)
        assert ("it has none" in plan.hint) is not reflinks


# Rollbacks


def _rolled_back(directory: Directory, place: Place, snapshot: Place, home: Path) -> Place:
    staged = Place("staged", "", home / "staged", home / "mounts/staged", Spec(backend=""))
    staged.home.mkdir()
    directory.rollback(place, snapshot, staged, uncounted)
    return staged


@pytest.mark.parametrize(
    ("host", "spec", "calls"),
    [
        ("projects", {}, ["copy", "exchange"]),
        (
            "projects",
            PROJECT,
            ["copy", "limit None", "assign 7", "exchange", "assign 0", "limit 67108864"],
        ),
        ("btrfs", {}, ["snapshot rw", "exchange"]),
        (
            "btrfs",
            {"size": 64 * MIB},
            ["snapshot rw", "enable", "limit 67108864", "exchange"],
        ),
        ("plain", {}, ["copy", "exchange"]),
    ],
)
def test_a_rollback_exchanges_what_is_whole_and_limited(
    directory: Directory,
    place: MakePlace,
    quotas: Quotas,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    *,
    spec: dict[str, int],
    calls: list[str],
) -> None:
    """And both names are on the disk, before what was there is deleted; only two trees at a time
    may exceed a limit."""
    quotas.btrfs = host != "projects"
    db = filled(place(**spec))
    nightly = filled(place("nightly", within=db), "before")
    if host == "plain":
        (nightly.home / "data/plain").touch()
    unsynced = Unsynced(monkeypatch)
    staged = _rolled_back(directory, db, nightly, tmp_path)
    assert quotas.calls == calls
    assert (db.home / "data/file").read_text() == "before"
    assert (staged.home / "data/file").read_text() == "now"
    assert (unsynced.left(tmp_path), unsynced.early) == (set(), [])


@pytest.mark.parametrize(
    ("failing", "error", "content"),
    [
        ("assign 7", OSError, "now"),
        ("exchange", OSError, "now"),
        ("sync", Unsettled, "before"),
        ("assign 0", None, "before"),
    ],
)
def test_a_rollback_that_fails_leaves_the_limit_and_one_content(
    directory: Directory,
    place: MakePlace,
    quotas: Quotas,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    failing: str,
    error: type[Exception] | None,
    content: str,
) -> None:
    """After the exchange it says that the volume has gone back; no project keeps what goes."""
    db = filled(place(**PROJECT))
    nightly = filled(place("nightly", within=db), "before")

    def fail(*arguments: object) -> None:
        if failing in ("exchange", "sync", f"assign {arguments[-1]}"):
            raise OSError(5, "Input/output error")

    names = {"exchange": (files, "exchange"), "sync": (files, "fsync_dir")}
    monkeypatch.setattr(*names.get(failing, (quota, "assign_tree")), fail)
    if error is None:
        _rolled_back(directory, db, nightly, tmp_path)
    else:
        with pytest.raises((OSError, ConvoyError)) as told:
            _rolled_back(directory, db, nightly, tmp_path)
        assert isinstance(told.value, error)
    assert (db.home / "data/file").read_text() == content
    assert quotas.limits == {7: (64 * MIB, None)}
