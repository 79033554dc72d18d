"""What only snapshots and clones of directories can meet: folders of the user's, and quotas."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from convoy_py.errors import OperationFailed, Unsupported
from convoy_py.linux import files, mounts
from convoy_py.models.snapshot import Way
from convoy_py.models.volume import Options
from tests.conformance.bed import MIB, Bed, written

pytestmark = pytest.mark.root


def test_a_users_folder_is_cloned_but_not_snapshotted(folders: Bed, allowed: Path) -> None:
    """Its data is the host's; the clone has its owner and its mode, and is a volume of ours."""
    data = allowed / "data"
    data.mkdir(mode=0o711)
    written(data / "file", MIB)
    place = folders.created(path=str(data))
    for refused in (folders.snapshots.plan, folders.snapshot):
        with pytest.raises(Unsupported, match=r"volume vol.*convoy clone"):
            refused(place)
    plan = folders.snapshots.plan(place, clone=True)
    assert (plan.way in (Way.COPY, Way.FILES), plan.bytes) == (True, MIB)
    clone = folders.clone(place)
    seen = folders.mounted(clone)
    assert (seen / "file").read_bytes() == (data / "file").read_bytes()
    assert seen.stat().st_mode & 0o7777 == 0o711
    (seen / "file").write_text("changed")
    assert (data / "file").stat().st_size == MIB
    assert [m.mountpoint for m in mounts.below(folders.root)] == [str(clone.mountpoint)]


def test_a_hole_is_nothing_to_copy(folders: Bed) -> None:
    """However long the file: neither is it used, nor does it take time or room, or get blocks."""
    place = folders.created()
    data = folders.data(place)
    with (data / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 40)
        sparse.write(b"x" * 4096)
    usage = folders.backend.usage(place, 0.0)
    assert usage.used is not None
    assert usage.used < MIB
    plan = folders.snapshots.plan(place)
    assert (plan.bytes < MIB, plan.takes < MIB, plan.seconds < 60) == (True, True, True)
    snapshot = folders.snapshot(place)
    assert (folders.data(snapshot) / "sparse").stat().st_size == 1 << 40
    assert files.disk_usage(snapshot.home)[1] < MIB


def test_nothing_is_cloned_into_a_users_folder(folders: Bed, allowed: Path) -> None:
    """Its data is not ours to make; nor is that of another backend."""
    with pytest.raises(Unsupported, match="without path"):
        folders.backend.resolve(Options(path=str(allowed / "data"), source="db"))
    place = folders.created()
    for wanted in ({"path": str(allowed / "data")}, {"backend": "loopback"}):
        assert not folders.snapshots.clones(place, place.spec.model_copy(update=wanted)), wanted


def test_a_users_folder_is_read_where_it_was_checked(folders: Bed, allowed: Path) -> None:
    """A link that takes its place later leads nowhere."""
    place = folders.created(path=str(allowed / "data"))
    (allowed / "data/file").write_text("mine")
    with folders.snapshots.reading(place) as folder:
        (allowed / "data").rename(allowed / "moved")
        (allowed / "data").symlink_to("/etc")
        assert [path.name for path in folder.iterdir()] == ["file"]
        with pytest.raises(OSError, match="Read-only"):
            (folder / "new").touch()
    with pytest.raises(Unsupported, match="link"), folders.snapshots.reading(place):
        pass
    assert mounts.below(folders.root) == []


def test_a_users_folder_is_written_too(folders: Bed, allowed: Path) -> None:
    """By those who put a file back."""
    place = folders.created(path=str(allowed / "data"))
    with folders.snapshots.writing(place) as folder:
        (folder / "file").write_text("back")
    assert (allowed / "data/file").read_text() == "back"


class Quotas:
    """Project quotas as they would be, and in which order they were changed."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.limits: dict[int, int | None] = {}

    def assign_tree(self, path: Path, project: int) -> None:
        self.calls.append(f"{path.parent.name[:5]} is in {project}")

    def set_limit(
        self, path: Path, project: int, limit: int | None, inodes: int | None = None
    ) -> None:
        assert inodes is None
        self.calls.append(f"limit {limit}")
        self.limits[project] = limit

    def exchange(self, one: Path, other: Path) -> None:
        self.calls.append("exchange")
        EXCHANGE(one, other)


EXCHANGE = files.exchange


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Quotas]:
    quotas = Quotas()
    with monkeypatch.context() as patched:
        patched.setattr("convoy_py.linux.quota.assign_tree", quotas.assign_tree)
        patched.setattr("convoy_py.linux.quota.set_limit", quotas.set_limit)
        patched.setattr("convoy_py.linux.files.exchange", quotas.exchange)
        yield quotas


def test_a_rollback_within_a_project_lifts_its_limit_meanwhile(
    folders: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both trees count for a moment; in the end the limit holds, and for the new one alone."""
    place = folders.created()
    snapshot = folders.snapshot(place)
    spec = place.spec.model_copy(update={"size": 64 * MIB, "project": 7})
    limited = replace(place, spec=spec)
    with counted(monkeypatch) as quotas:
        folders.rolled_back(limited, snapshot)
    assert quotas.calls == [
        "limit None",
        ".new- is in 7",
        "exchange",
        ".new- is in 0",
        f"limit {64 * MIB}",
    ]


def test_a_limit_is_set_again_whatever_happens(
    folders: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failure at once; after a crash with the next mount, also where quotas are off now."""
    place = folders.created()
    snapshot = folders.snapshot(place)
    spec = place.spec.model_copy(update={"size": 64 * MIB, "project": 7})
    limited = replace(place, spec=spec)

    def fail(*_: object) -> None:
        raise OperationFailed("no")

    with counted(monkeypatch) as quotas:
        monkeypatch.setattr("convoy_py.linux.files.exchange", fail)
        with pytest.raises(OperationFailed):
            folders.rolled_back(limited, snapshot)
        assert quotas.limits == {7: 64 * MIB}
        quotas.limits.clear()
        folders.mounted(limited)
        assert quotas.limits == {7: 64 * MIB}
    folders.unmounted(limited)
    folders.mounted(limited)


def test_a_snapshot_belongs_to_no_project(folders: Bed) -> None:
    """What it keeps does not count against the volume, and to delete it lifts nobody's limit."""
    place = folders.created()
    spec = place.spec.model_copy(update={"project": 7})
    snapshot = folders.snapshot(replace(place, spec=spec))
    assert snapshot.spec.project is None
    folders.deleted(snapshot)


def test_many_small_files_take_their_time(folders: Bed) -> None:
    """A snapshot of files is foretold by their number too, not by their bytes alone."""
    place = folders.created()
    seen = folders.mounted(place)
    few = folders.snapshots.plan(place)
    for number in range(1000):
        (seen / str(number)).touch()
    many = folders.snapshots.plan(place)
    if not many.instant:
        assert many.seconds > few.seconds == 0
