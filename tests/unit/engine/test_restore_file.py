"""Snapshots that are compared, and files that are brought back from them."""

import asyncio
import errno
import os
from pathlib import Path, PurePath

import pytest

from convoy_py.engine.running.jobs import Progress
from convoy_py.errors import (
    ConvoyError,
    Invalid,
    NoSpace,
    NotFound,
    OperationFailed,
    Unsettled,
    VolumeInUse,
)
from convoy_py.linux import files, trees
from convoy_py.linux.reflink import Step
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import Options
from tests.fakes_engine import Engine

DOCKER = "100:1"


@pytest.fixture
async def db(engine: Engine) -> Engine:
    """With a volume `db` that was `old` at its snapshot `a`, and is `new` now."""
    await engine.volumes.create("db", Options())
    engine.write("db", "old")
    await engine.snapshots.create(["db"], "a", Progress())
    engine.write("db", "new")
    return engine


async def test_a_diff_counts_and_names_what_changed(db: Engine) -> None:
    """Between two snapshots, and between one and the volume as it is."""
    db.write("db", "longer than it was")
    _, place = db.entries.get("db").usable()
    (place.home / "data" / "more").write_text("x")
    found = await db.copies.diff("db", "a", "", Progress())
    assert (found.added, found.changed, found.removed) == (1, 1, 0)
    assert found.bytes == len("longer than it was") + 1
    assert [(each.kind, each.path) for each in found.changes] == [
        ("changed", "file"),
        ("added", "more"),
    ]
    await db.snapshots.create(["db"], "b", Progress())
    found = await db.copies.diff("db", "b", "a", Progress())
    assert (found.removed, found.changed) == (1, 1)
    with pytest.raises(Invalid, match="db@a does not differ from itself"):
        await db.copies.diff("db", "a", "a", Progress())


async def test_a_diff_holds_up_nobody(engine: Engine) -> None:
    """A volume that is mounted is mounted once more, though its snapshot is an image at rest."""
    await engine.volumes.create("db", Options(size=4096, fs=Filesystem.EXT4))
    await engine.snapshot("db", "a")
    await engine.uses.mount("db", "first", DOCKER)
    gate = engine.kernel.gate("reading", "db@a")
    diff = asyncio.create_task(engine.copies.diff("db", "a", "", Progress()))
    await asyncio.to_thread(gate.wait_for_call)
    async with asyncio.timeout(60):
        await engine.uses.mount("db", "second", DOCKER)
    gate.open()
    await diff


async def test_a_diff_tells_names_that_are_no_text(db: Engine) -> None:
    """File names are bytes: each is told as text of its own."""
    _, place = db.entries.get("db").usable()
    for name in ("caf\udce9.txt", "back\\slash", "two\nlines"):
        (place.home / "data" / name).touch()
    found = await db.copies.diff("db", "a", "", Progress())
    assert {each.path for each in found.changes if each.kind == "added"} == {
        r"caf\xe9.txt",
        r"back\\slash",
        r"two\x0alines",
    }


@pytest.mark.parametrize("limit", ["TOLD_CHANGES", "TOLD_CHARACTERS"])
async def test_a_diff_is_cut_short_but_counts_all(
    db: Engine, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """A million changes are not told one by one, nor a few with a million characters."""
    (db._data("db") / "file").write_text("old")
    monkeypatch.setattr(f"convoy_py.engine.verbs.copies.{limit}", 2)
    _, place = db.entries.get("db").usable()
    for number in range(3):
        (place.home / "data" / str(number)).touch()
    found = await db.copies.diff("db", "a", "", Progress())
    assert (found.added, len(found.changes), found.truncated) == (3, 2, True)


async def test_a_diff_lets_the_volume_be_used(db: Engine) -> None:
    """But not taken away."""
    gate = db.kernel.gate("reading", "db@a")
    diff = asyncio.create_task(db.copies.diff("db", "a", "", Progress()))
    await asyncio.to_thread(gate.wait_for_call)
    async with asyncio.timeout(60):
        await db.uses.mount("db", "container", DOCKER)
        await db.uses.unmount("db", "container")
    with pytest.raises(VolumeInUse, match="db is in use by a comparison"):
        await db.volumes.rename("db", "other")
    gate.open()
    await diff
    await db.operations.drain(5)
    assert not db.is_mounted("db")


async def test_a_file_is_brought_back(db: Engine) -> None:
    """And nothing else is touched; the bytes are told."""
    _, place = db.entries.get("db").usable()
    (place.home / "data" / "more").write_text("x")
    assert await db.copies.restore_file("db", "a", "/file", Progress()) == 3
    assert db.read("db") == "old"
    assert (place.home / "data" / "more").exists()


@pytest.mark.parametrize(
    ("name", "others", "path"),
    [
        (b"caf\xe9.txt", [rb"caf\xe9.txt"], r"caf\xe9.txt"),
        (rb"caf\xe9.txt", [b"caf\xe9.txt"], r"/caf\\xe9.txt"),
        (rb"caf\xe9.txt", [], r"caf\xe9.txt"),
        (rb"a\x2db", [b"a-b"], r"a\x2db"),
        (b"two\nlines", [], r"two\x0alines"),
        (b"two\nlines", [], "two\nlines"),
        (b"f\xfc/caf\xe9", [], r"f\xfc/caf\xe9"),
    ],
)
async def test_a_file_is_found_by_what_diff_tells_or_by_its_name(
    engine: Engine, name: bytes, others: list[bytes], path: str
) -> None:
    """Names are bytes; what may be read in two ways is what `diff` tells, if that is there."""
    await engine.volumes.create("v", Options())
    _, place = engine.entries.get("v").usable()
    data = os.fsencode(place.home / "data")
    for each in [name, *others]:
        Path(os.fsdecode(data + b"/" + each)).parent.mkdir(exist_ok=True)
        Path(os.fsdecode(data + b"/" + each)).write_bytes(each)
    await engine.snapshots.create(["v"], "a", Progress())
    for each in [name, *others]:
        Path(os.fsdecode(data + b"/" + each)).write_bytes(b"new")
    assert await engine.copies.restore_file("v", "a", path, Progress()) == len(name)
    assert Path(os.fsdecode(data + b"/" + name)).read_bytes() == name
    for each in others:
        assert Path(os.fsdecode(data + b"/" + each)).read_bytes() == b"new"


async def test_what_is_not_there_is_named_as_it_was_told(db: Engine) -> None:
    """In a line that can be written anywhere."""
    with pytest.raises(NotFound) as caught:
        await db.copies.restore_file("db", "a", "caf\\xe9", Progress())
    assert str(caught.value) == r"db@a has no caf\xe9"


@pytest.mark.parametrize("path", ["", "/", "../x", "a/../../x", ".", "a\0b", r"a\x00b"])
async def test_only_what_is_below_the_root_is_brought_back(db: Engine, path: str) -> None:
    """The whole of it is what a rollback is for."""
    with pytest.raises(Invalid, match="name a file or folder below the volume's root"):
        await db.copies.restore_file("db", "a", path, Progress())


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (None, None),
        (FileNotFoundError(errno.ENOENT, "No such file"), NotFound),
        (OSError(errno.EIO, "Input/output error"), OperationFailed),
        (OSError(errno.ENOSPC, "No space left on device"), NoSpace),
    ],
)
async def test_what_a_crash_would_leave_is_noted_until_it_is_gone(
    db: Engine,
    monkeypatch: pytest.MonkeyPatch,
    failure: OSError | None,
    told: type[ConvoyError] | None,
) -> None:
    """It lies in the user's data, where nobody would know it."""
    copy_one, noted = trees.copy_one, list[str | None]()

    def looked(before: Path, way: PurePath, after: Path, step: Step, left: str) -> None:
        noted.append(db.store.restoring("db"))
        assert noted == [left]
        if failure is not None:
            raise failure
        copy_one(before, way, after, step, left)

    monkeypatch.setattr(trees, "copy_one", looked)
    if told is None:
        await db.copies.restore_file("db", "a", "file", Progress())
    else:
        with pytest.raises(told):
            await db.copies.restore_file("db", "a", "file", Progress())
    assert len(noted) == 1
    assert db.store.half_restored() == []


@pytest.mark.parametrize("restarts", [True, False])
async def test_what_was_there_before_stays_until_the_other_is_on_the_disk(
    db: Engine, monkeypatch: pytest.MonkeyPatch, restarts: bool
) -> None:
    """The next start takes it away, or the next that is brought back."""
    data = db._data("db")

    def unsettled(before: Path, way: PurePath, after: Path, step: Step, left: str) -> None:
        (after / way).rename(after / left)
        (after / way).write_text("old")
        raise files.Unsettled(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(trees, "copy_one", unsettled)
        with pytest.raises(Unsettled, match="volume db has it back from db@a"):
            await db.copies.restore_file("db", "a", "file", Progress())
    (left,) = data.glob(".restore-*")
    assert left.read_text() == "new"
    if restarts:
        db = db.restarted()
        await db.copies.sweep(db.recovery.half_restored)
    else:
        await db.copies.restore_file("db", "a", "file", Progress())
    assert [path.name for path in data.iterdir()] == ["file"]
    assert db.store.half_restored() == []
    assert db.read("db") == "old"
