"""The blocking steps of the verbs, each in the order that leaves nothing half done."""

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from convoy_py.backends import mountpoints
from convoy_py.backends.base import Place
from convoy_py.engine.steps import volumes as steps
from convoy_py.errors import (
    Corrupt,
    NoSpace,
    OperationFailed,
    OptionsDiffer,
    Unavailable,
    VolumeInUse,
    failed,
)
from convoy_py.linux import files, holders, mounts, peers
from convoy_py.models.volume import Options, Spec
from convoy_py.state.records import Hold, References
from tests.fakes_engine import Engine, FakeBackend, FakeKernel, holder


@pytest.fixture
def place(engine: Engine) -> Place:
    """Of a volume `v` that exists."""
    found = engine.steps.create("v", Options(size=4096)).place
    assert found is not None
    return found


def _held(engine: Engine) -> References:
    return engine.references.none().model_copy(update={"holds": {"a": Hold(count=1, epoch="1:1")}})


def test_every_volume_has_an_id_of_its_own(engine: Engine) -> None:
    """Also one of the same name after another."""
    uuids = set()
    for name in ("a", "b"):
        entry = engine.steps.create(name, Options())
        assert entry.place is not None
        uuids.add(entry.place.uuid)
    assert len(uuids) == 2


@pytest.mark.parametrize(("sparse", "promised"), [(True, 4096), (False, 0)])
def test_after_a_start_what_was_reserved_is_not_to_be_had_again(
    engine: Engine, sparse: bool, promised: int
) -> None:
    """Its blocks are allocated already; those of a sparse one may all still be asked for."""
    engine.steps.create("v", Options(size=4096, sparse=sparse))
    assert engine.restarted().host.ledger.space().promised == promised


def test_building_happens_beside_the_volumes(engine: Engine, kernel: FakeKernel) -> None:
    """Home and mountpoint bear a name that no volume can have until all is done."""
    seen: list[Place] = []

    class Watched(FakeBackend):
        def create(self, place: Place) -> Spec:
            seen.append(place)
            return super().create(place)

    engine.host.backends = {"fake": Watched(kernel)}
    entry = engine.steps.create("v", Options())
    (built,) = seen
    assert built.home.name.startswith(".new-")
    assert built.mountpoint.name == built.home.name
    assert entry.place is not None
    assert entry.place.home == engine.store.home("v")
    assert entry.place.mountpoint == engine.mountpoint("v")


def test_what_the_backend_settled_is_recorded(engine: Engine, kernel: FakeKernel) -> None:
    """A project id, for instance, that was only known when it was taken."""

    class Settles(FakeBackend):
        def create(self, place: Place) -> Spec:
            return super().create(place).model_copy(update={"project": 7})

    engine.host.backends = {"fake": Settles(kernel)}
    entry = engine.steps.create("v", Options())
    assert entry.record is not None
    assert entry.record.spec.project == 7
    assert engine.store.read("v") == entry.record


def test_a_build_is_taken_down_whatever_stopped_it(engine: Engine, kernel: FakeKernel) -> None:
    """By an error of ours, of the system, or a defect."""
    for failure in (Corrupt("x"), OSError("y"), AssertionError("z")):
        kernel.failures["create", "v"] = failure
        with pytest.raises(type(failure)):
            engine.steps.create("v", Options())
        assert engine.store.half_made() == []
    assert kernel.count("abandon", "v") == 3


def test_a_host_without_space_refuses_before_building(engine: Engine) -> None:
    """With the figures."""
    with pytest.raises(NoSpace, match="volume v: 4096PiB cannot be promised"):
        engine.steps.create("v", Options(size=2**62))
    assert engine.kernel.calls == []
    assert engine.store.half_made() == []


def test_a_mount_and_its_count_come_together(engine: Engine, place: Place) -> None:
    """Once mounted, only the count is written."""
    for _ in range(2):
        engine.steps.mount(engine.backend, place, _held(engine))
    assert engine.kernel.count("mount", "v") == 1
    assert engine.counted("v") == 1


@pytest.mark.parametrize("before", [True, False])
def test_a_count_that_failed_leaves_an_older_mount(
    engine: Engine, place: Place, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """Others use it: only a mount that was made for this count is taken back."""
    if before:
        engine.steps.mount(engine.backend, place, _held(engine))

    def fail(*_: object) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(engine.references, "save", fail)
    with pytest.raises(OSError, match="Permission"):
        engine.steps.mount(engine.backend, place, _held(engine))
    assert engine.is_mounted("v") is before


@pytest.mark.parametrize(
    ("dead", "busy", "mounts"), [(False, False, 1), (True, False, 2), (True, True, 1)]
)
def test_what_has_lost_its_storage_is_mounted_anew(
    engine: Engine,
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    dead: bool,
    busy: bool,
    mounts: int,
) -> None:
    """Not on top of what somebody holds; what is well stays mounted."""
    engine.steps.mount(engine.backend, place, _held(engine))
    monkeypatch.setattr(engine.backend, "is_dead", lambda _: dead)
    if busy:
        engine.kernel.busy.add("v")
    fresh = engine.steps.mount(engine.backend, place, _held(engine))
    assert (fresh, engine.is_mounted("v")) == (mounts > 1, True)
    assert engine.kernel.count("mount", "v") == mounts
    assert engine.kernel.count("unmount", "v") == int(dead)


def test_while_the_root_is_away_only_what_is_mounted_is_used(engine: Engine, place: Place) -> None:
    """Also once it is back, until its records have been read again: it may be another volume."""
    root = engine.store.root
    engine.steps.mount(engine.backend, place, _held(engine))
    root.rename(root.with_name("moved"))
    assert not engine.steps.mount(engine.backend, place, _held(engine))
    for back in (False, True):
        if back:
            root.with_name("moved").rename(root)
        engine.kernel.mounted.clear()
        with pytest.raises(Unavailable, match=r"volume v: .* is not the folder any more"):
            engine.steps.mount(engine.backend, place, _held(engine))
        assert not engine.is_mounted("v")
        engine.kernel.mounted[place.mountpoint] = place.uuid
        assert not engine.steps.mount(engine.backend, place, _held(engine))


def test_what_only_a_mount_shows_is_measured_just_before_it_goes(
    engine: Engine, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a mount there is nothing to be seen; what fails keeps no mount."""
    engine.steps.mount(engine.backend, place, _held(engine))
    monkeypatch.setattr(engine.backend, "parting_usage", engine.backend.usage)
    left = engine.steps.unmount(engine.backend, place)
    assert left.usage == engine.backend.usage(place, engine.wall.now)
    assert engine.steps.unmount(engine.backend, place).usage is None
    engine.steps.mount(engine.backend, place, _held(engine))
    engine.kernel.failures["usage", "v"] = OSError(errno.ENOENT, "No such file")
    assert engine.steps.unmount(engine.backend, place).detached
    assert not engine.is_mounted("v")


def test_the_mountpoint_comes_and_goes_with_the_mount(engine: Engine, place: Place) -> None:
    """So that nobody can write to it while nothing is mounted."""
    assert not place.mountpoint.exists()
    engine.steps.mount(engine.backend, place, _held(engine))
    assert place.mountpoint.is_dir()
    engine.kernel.busy.add("v")
    left = engine.steps.unmount(engine.backend, place)
    assert (left.detached, left.mounted) == (False, True)
    assert place.mountpoint.is_dir()
    engine.kernel.busy.clear()
    engine.kernel.attached.add("v")  # as where udev looks at the device
    left = engine.steps.unmount(engine.backend, place)
    assert (left.detached, left.mounted) == (False, False)
    assert not place.mountpoint.exists()
    engine.kernel.attached.clear()
    assert engine.steps.unmount(engine.backend, place).detached


def test_removing_takes_everything_but_the_data_away(engine: Engine, place: Place) -> None:
    """That is left to a deletion which may take its time."""
    engine.steps.mount(engine.backend, place, _held(engine))
    engine.steps.vacate(engine.backend, place)
    gone = engine.steps.retire(place)
    assert gone.home.parent == engine.store.trash
    assert (gone.home / "data").exists()
    assert not place.home.exists()
    assert not place.mountpoint.exists()
    assert not engine.is_mounted("v")
    assert engine.counted("v") == 0


def test_a_removal_looks_again_without_our_own_mount(
    engine: Engine, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What hid behind it, or came just then, keeps the data."""
    engine.steps.mount(engine.backend, place, _held(engine))
    looks = iter([[], [holder(7)]])
    monkeypatch.setattr(engine.backend, "holders", lambda *_: next(looks))
    with pytest.raises(VolumeInUse, match="pid 7"):
        engine.steps.vacate(engine.backend, place)
    assert (place.home / "data").exists()


def test_whoever_is_seen_to_hold_a_busy_volume_is_named(
    engine: Engine, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an open file, where no mount of a container shows."""
    monkeypatch.setattr(steps, "ATTEMPTS", 1)
    monkeypatch.setattr(holders, "of_open_files", lambda _: [holder(7)])
    engine.steps.mount(engine.backend, place, _held(engine))
    engine.kernel.busy.add("v")
    with pytest.raises(VolumeInUse, match=r"pid 7, postgres\)$"):
        engine.steps.vacate(engine.backend, place)
    assert engine.is_mounted("v")


def test_who_loses_nothing_is_in_nobodys_way(
    engine: Engine, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data of a folder of the user's stays where it is, and is not measured beforehand."""
    monkeypatch.setattr(engine.backend, "keeps_data", lambda _: True)
    engine.kernel.holders["v"] = [holder(7)]
    engine.steps.mount(engine.backend, place, _held(engine))
    engine.steps.vacate(engine.backend, place)
    assert not engine.is_mounted("v")
    assert engine.kernel.count("usage", "v") == 1
    assert engine.steps.create("w", Options()).usage is None


def test_what_a_backend_that_is_off_had_is_deleted_all_the_same(
    engine: Engine, place: Place
) -> None:
    """Its folder has nothing mounted by then."""
    gone = engine.steps.retire(place)
    engine.host.backends = {}
    engine.steps.destroy(gone)
    assert not gone.home.exists()


def test_what_was_half_made_is_let_go_of_before_it_is_deleted(
    engine: Engine, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that has lost its file is not found any more; a mountpoint tells what is left."""
    done: list[str] = []
    for module, name in ((mountpoints, "remove"), (files, "remove_tree")):
        monkeypatch.setattr(module, name, lambda _, name=name: done.append(name))
    monkeypatch.setattr(engine.backend, "abandon", lambda _: done.append("abandon"))
    engine.steps.sweep(place.home)
    assert done == ["abandon", "remove_tree", "remove"]


def test_adopting_by_name_of_the_backend(engine: Engine) -> None:
    """What the user says goes before what it looks like; a damaged old record does not matter."""
    home = engine.store.home("v")
    home.mkdir()
    (home / "data").touch()
    (home / "kept.json").write_text("{")
    entry = engine.steps.adopt("v", Options(backend="fake"))
    assert entry.record == engine.store.read("v")
    assert not (home / "kept.json").exists()


def test_adopting_a_users_folder(engine: Engine, kernel: FakeKernel) -> None:
    """One of which nothing was known is a new volume; of another the options of before are kept."""

    class Folders(FakeBackend):
        takes = FakeBackend.takes | {"path"}

        def resolve(self, options: Options) -> Spec:
            return Spec(backend=self.name, path=options.path, uid=options.uid)

        def adopt(self, place: Place, options: Options) -> Spec:
            return place.spec.model_copy(update={"path": options.path or place.spec.path})

    engine.host.backends = {"fake": Folders(kernel)}
    home = engine.store.home("v")
    uuid = engine.steps.adopt("v", Options(path="/srv/data", uid=7)).volume_record().uuid
    (home / "data").rmdir()  # it lies elsewhere
    for options in (Options(), Options(path="/srv/moved")):
        engine.store.keep("v")
        entry = engine.steps.adopt("v", options)
        assert (entry.path, entry.volume_record().spec.uid) == (options.path or "/srv/data", 7)
        assert entry.volume_record().uuid == uuid
    engine.store.keep("v")
    (home / "kept.json").unlink()
    lost = Options(path="/srv/data", backend="fake")
    assert engine.steps.adopt("v", lost).path == "/srv/data"
    assert kernel.count("create", "v") == 1


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, NoSpace), (errno.EDQUOT, NoSpace), (errno.EIO, OperationFailed)],
)
def test_the_systems_errors_are_told_as_ours(number: int, kind: type[Exception]) -> None:
    """One line with the volume, the operation, the reason and the file."""
    error = failed("volume v: mount failed", OSError(number, "it failed", "/some/file"))
    assert type(error) is kind
    assert str(error) == "volume v: mount failed: it failed: /some/file"


def test_a_daemon_that_is_not_seen_by_the_engine_says_so(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its mounts would be empty folders to containers; where nobody can tell, it serves."""
    names = {1: "mnt:[1]", 2: None}
    monkeypatch.setattr(peers, "mount_namespace", lambda pid="self": names.get(pid, "mnt:[9]"))
    found = mounts.holding(engine.host.store.root)
    monkeypatch.setattr(mounts, "holding", lambda _: replace(found, peer_group=0))
    with pytest.raises(Unavailable, match=r"volume v: .* do not reach containers"):
        engine.daemon.check_reach("v", 1)
    for pid in (0, 2, 3):
        engine.daemon.check_reach("v", pid)
    monkeypatch.setattr(mounts, "holding", lambda _: replace(found, peer_group=7))
    engine.daemon.check_reach("v", 1)


def test_a_plugin_whose_folder_the_engine_has_unmounted_says_so(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it mounts propagates still, but no longer to the engine; one that has ended is free."""
    found = mounts.holding(engine.host.store.root)
    tables = {1: b"", 2: b"1 2 8:1 / / rw shared:7 - ext4 a rw", 3: b"1 2 8:1 / / rw master:7 - "}
    tables[4] = b"1 2 8:1 / / rw shared:77 master:17 - ext4 a rw"

    def read(pid: int) -> bytes:
        if pid not in tables:
            raise FileNotFoundError
        return tables[pid]

    monkeypatch.setattr(mounts, "read", read)
    monkeypatch.setattr(peers, "mount_namespace", lambda pid="self": f"mnt:[{pid}]")
    monkeypatch.setattr(mounts, "holding", lambda _: replace(found, peer_group=7))
    engine.daemon.check_reach("v", 4)  # no plugin
    engine.host.mounts_dir = Path("/mnt/volumes/guarded")
    with pytest.raises(Unavailable, match=r"do not reach containers any more"):
        engine.daemon.check_reach("v", 4)
    for pid in (1, 2, 3, 5):
        engine.daemon.check_reach("v", pid)


def test_options_that_differ_are_told_as_people_write_them() -> None:
    """A mode in octal, a size with its unit, what was not said as unset."""
    spec = Spec(backend="fake", mode=0o755)
    error = OptionsDiffer("v", spec.differences(Options(mode=0o700, size=2**30)))
    assert str(error).endswith("size is unset, asked 1GiB, mode is 0755, asked 0700")
