"""What is done to containers around a snapshot: in order, undone in any case, also by the next."""

import asyncio
import errno
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from convoy_py.containers import Container
from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.verbs.repositories import Secret
from convoy_py.errors import (
    Cancelled,
    ConvoyError,
    Invalid,
    NotFound,
    OperationFailed,
    Unavailable,
)
from convoy_py.models.backup import Description
from convoy_py.models.hooks import NO_HOOKS, Command, Hooks
from convoy_py.models.session import Describe
from convoy_py.models.volume import Options
from tests.fakes_engine import DAY, Engine

APP, WEB = Container("1", "app", "running"), Container("2", "web", "running")
HOOKS = Hooks.asked(["app: sync", "web: flush"], ["app: go", "web: open"], stop=True)
BEFORE, AFTER = ["app: sync", "web: flush"], ["app: go", "web: open"]
HALTED = ["stop", "stop", "start", "start"]


@pytest.fixture
async def used(engine: Engine) -> Engine:
    """An engine with a volume `db` that two containers use."""
    await engine.volumes.create("db", Options())
    engine.containers.using["db"] = [APP, WEB]
    return engine


def owed(engine: Engine) -> list[Path]:
    """The notes of what is still to be run."""
    return list(engine.store.root.glob("hooks/*.json"))


async def take(engine: Engine, hooks: Hooks, progress: Progress | None = None) -> None:
    await engine.snapshots.create(["db"], "a", progress or Progress(), hooks=hooks)


async def test_all_is_done_in_its_order(used: Engine) -> None:
    """Nothing is locked while commands run or containers stop: they may call for the volume."""
    seen: list[str] = []
    used.containers.when_called = lambda call, name: seen.append(used.entries.get("db").doing)
    await take(used, HOOKS)
    assert used.containers.calls == [*BEFORE, *HALTED, *AFTER]
    assert set(seen) == {""}
    assert owed(used) == []


@pytest.mark.parametrize(
    ("at", "done"),
    [
        (("execute", "flush"), BEFORE),
        (("copy", "db"), [*BEFORE, *HALTED]),
    ],
)
async def test_what_comes_after_is_run_whatever_failed(
    used: Engine, at: tuple[str, str], done: Sequence[str]
) -> None:
    """And the failure is what is told; nothing is taken."""
    failures = used.containers.failures if at[0] == "execute" else used.kernel.failures
    failures[at] = OperationFailed("exit code 1: no space")
    with pytest.raises(OperationFailed, match="exit code 1: no space"):
        await take(used, HOOKS)
    assert used.containers.calls == [*done, *AFTER]
    assert used.snapshots.views("db") == []
    assert (used.left(), owed(used)) == ([], [])


async def test_a_daemon_that_stops_runs_what_comes_after(used: Engine) -> None:
    """Work that is cut off is cancelled, wherever it is."""
    progress = Progress()
    progress.cancelled = "the daemon stopped"
    with pytest.raises(Cancelled):
        await take(used, HOOKS, progress)
    assert used.containers.calls == AFTER


async def test_what_fails_afterwards_is_told_with_what_was_taken(used: Engine) -> None:
    """Each on its own: the others are run."""
    used.containers.failures["execute", "go"] = OperationFailed("exit code 2")
    used.containers.refuses_start = "no such network"
    told = r"db@a was taken; but no such network.*; 'go' in container app: exit code 2"
    with pytest.raises(OperationFailed, match=told):
        await take(used, HOOKS)
    assert used.containers.calls[-2:] == AFTER
    assert [view.name for view in used.snapshots.views("db")] == ["a"]


async def test_the_next_daemon_runs_what_a_killed_one_owed(used: Engine) -> None:
    """Once the container runs; one that is gone is owed nothing."""
    used.containers.failures["execute", "go"] = Unavailable("container app does not run")
    used.containers.failures["execute", "open"] = Unavailable("no engine answers")
    with pytest.raises(OperationFailed, match="does not run"):
        await take(used, HOOKS)
    assert len(owed(used)) == 1
    after = used.restarted()
    after.containers.failures["execute", "go"] = Unavailable("container app does not run")
    after.containers.failures["execute", "open"] = NotFound("no such container")
    after.hooking.recover()
    assert len(owed(after)) == 1
    after.containers.calls.clear()
    after.containers.failures.clear()
    for _ in range(2):
        after.hooking.recover()
    assert after.containers.calls == ["app: go"]
    assert owed(after) == []


async def test_what_is_owed_by_a_snapshot_in_progress_is_its_own(used: Engine) -> None:

    def look(call: str, name: str) -> None:
        used.hooking.recover()

    used.containers.when_called = look
    await take(used, HOOKS)
    assert used.containers.calls == [*BEFORE, *HALTED, *AFTER]


async def test_who_holds_a_container_up_is_waited_for(used: Engine) -> None:
    """Two volumes of one container: else it would be stopped under the other's commands."""
    await used.volumes.create("logs", Options())
    used.containers.using["db"] = used.containers.using["logs"] = [APP]
    gate = used.kernel.gate("copy", "db")
    hooks = Hooks.asked([], ["app: go"], stop=True)
    first = asyncio.create_task(take(used, hooks))
    await asyncio.to_thread(gate.wait_for_call)
    second = asyncio.create_task(
        used.snapshots.create(["logs"], "b", Progress(), hooks=Hooks.asked(["app: sync"], []))
    )
    done, _ = await asyncio.wait({second}, timeout=0.1)
    assert not done
    gate.open()
    await asyncio.gather(first, second)
    assert used.containers.calls == ["stop", "start", "app: go", "app: sync"]


async def test_what_is_owed_is_run_once_also_while_its_note_goes(
    used: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks for what is owed may come at any moment."""
    unlink = Path.unlink

    def looked(path: Path, missing_ok: bool = False) -> None:
        monkeypatch.setattr(Path, "unlink", unlink)
        used.hooking.recover()
        path.unlink(missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", looked)
    await take(used, Hooks.asked([], ["app: go"]))
    assert used.containers.calls == ["app: go"]


async def test_a_note_that_cannot_be_read_just_now_stays(
    used: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon may be out of descriptors for a moment; what is owed is owed."""
    used.containers.failures["execute", "go"] = Unavailable("container app does not run")
    with pytest.raises(OperationFailed, match="does not run"):
        await take(used, Hooks.asked([], ["app: go"]))
    used.containers.failures.clear()
    used.containers.calls.clear()

    def fails(path: Path) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", fails)
        used.hooking.recover()
    assert len(owed(used)) == 1
    used.hooking.recover()
    assert (used.containers.calls, owed(used)) == (["app: go"], [])


async def test_a_disk_that_keeps_a_note_fails_no_snapshot(
    used: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was owed may be run again, and what was taken is there."""

    def fails(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EIO, "Input/output error", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", fails)
        with pytest.raises(OperationFailed, match="db@a was taken; but what ran may be run again"):
            await take(used, Hooks.asked([], ["app: go"]))
    used.hooking.recover()
    assert (used.containers.calls, owed(used)) == (["app: go"] * 2, [])


async def test_some_containers_alone_are_stopped_or_paused(used: Engine) -> None:
    await take(used, Hooks(stopped=frozenset("1"), paused=frozenset("2")))
    assert used.containers.calls == ["stop", "pause", "unpause", "start"]


@pytest.fixture
async def backed(used: Engine, tmp_path: Path) -> Engine:
    """The same, with a repository."""
    file = tmp_path / "password"
    file.write_text("secret")
    add = used.repositories.add
    await add("offsite", f"{tmp_path}/r", Secret(str(file)), Secret(), Progress())
    return used


async def test_labels_of_containers_say_what_a_backup_does(backed: Engine) -> None:
    """After what is asked for; of those that use its volumes, and not for a snapshot alone."""
    labels = {"before": "sync", "after": '["/app", "go"]', "stop": "true"}
    app = replace(APP, labels={f"convoy.backup.{key}": text for key, text in labels.items()})
    web = replace(WEB, labels={"convoy.backup.pause": "True", "convoy.backup.stop": "false"})
    backed.containers.using["db"] = [app, web]
    await take(backed, NO_HOOKS)
    assert backed.containers.calls == []
    hooks = Hooks.asked(["web: flush"], [])
    await backed.backups.create(["db"], "", Progress(), hooks=hooks)
    calls = ["web: flush", "1: sync", "stop", "pause", "unpause", "start", "1: go"]
    assert backed.containers.calls == calls


@pytest.mark.parametrize("key", ["1", "0123456789abcdef" * 4])
async def test_who_has_a_label_is_told_by_name_and_called_by_id(backed: Engine, key: str) -> None:
    """The name may be another's by then; a later daemon knows the id alone."""
    labels = {"convoy.backup.after": "go"}
    backed.containers.using["db"] = [Container(key, "app", "running", labels)]
    backed.containers.failures["execute", "go"] = Unavailable("it does not run")
    with pytest.raises(OperationFailed, match="'go' in container app: it does not run"):
        await backed.backups.create(["db"], "", Progress())
    after = backed.restarted()
    after.hooking.recover()
    assert after.containers.calls == [f"{key}: go"]


def test_a_container_of_which_no_name_is_known_is_told_as_docker_lists_it() -> None:
    assert str(Command.of("0123456789abcdef" * 4, "go")) == "'go' in container 0123456789ab"
    assert str(Command.of("my-container", "go")) == "'go' in container my-container"


async def test_a_schedule_does_the_same(backed: Engine) -> None:
    """For its snapshots and its backups, labels beside; after a restart, too."""
    web = replace(WEB, labels={"convoy.backup.after": "open"})
    changes: dict[str, str | bool | None] = {
        "schedule_snapshot": "@daily",
        "schedule_backup": "@daily",
        "schedule_before": "app: sync\nweb: flush",
        "schedule_after": "app: go",
        "schedule_pause": True,
    }
    await backed.schedules.set("db", changes)
    view = (after := backed.restarted()).schedules.inspect("db")
    assert (view.before, view.after, view.pause) == (tuple(BEFORE), ("app: go",), True)
    after.containers.using["db"] = [APP, web]
    name, failed = await after.backups.begin("db", "offsite", Progress())
    assert after.containers.calls == [*BEFORE, "pause", "unpause", "app: go", "2: open"]
    ((backup,), _) = await after.backups.finish([name], "offsite", Progress())
    assert (backup.volume, failed) == ("db", [])
    await after.schedules.set("db", {"schedule_backup": None})
    after.containers.calls.clear()
    await after.scheduler.look()
    after.pass_time(2 * DAY)
    await after.scheduler.look()
    await after.settled()
    assert after.containers.calls == [*BEFORE, "pause", "unpause", "app: go"]


@pytest.mark.parametrize("label", [{"pause": "maybe"}, {"before": "["}])
async def test_a_label_that_makes_no_sense_is_told(backed: Engine, label: dict[str, str]) -> None:
    """With the container whose it is."""
    labels = {f"convoy.backup.{key}": text for key, text in label.items()}
    backed.containers.using["db"] = [replace(APP, labels=labels)]
    with pytest.raises(Invalid, match=r"container app, label convoy\.backup\.…: "):
        await backed.backups.create(["db"], "", Progress())


async def test_a_label_that_makes_no_sense_keeps_no_other_volume_from_its_backup(
    backed: Engine,
) -> None:
    """Those of its container are left out, with whatever is asked for them alone, and told."""
    asked = {"app": ("pause", "maybe"), "web": ("before", "flush"), "log": ("before", "sync")}
    app, web, log = (
        Container(name, name, "running", {f"convoy.backup.{label}": text})
        for name, (label, text) in asked.items()
    )
    for name in ("logs", "queue", "web"):
        await backed.volumes.create(name, Options())
    backed.containers.using = {"db": [app, log], "queue": [app], "logs": [], "web": [web]}
    told = r"^not backed up: db: container app, .*; queue: .* \(backed up: logs, web\)$"
    with pytest.raises(OperationFailed, match=told):
        await backed.backups.create([], "", Progress(), everything=True)
    assert backed.containers.calls == ["web: flush"]
    assert {view.volume for view in await backed.backups.views("", "", Progress())} == {
        "logs",
        "web",
    }


async def test_a_backup_says_what_the_engine_knew_of_its_volume(backed: Engine) -> None:
    """Its labels, and the digests of the images that used it; nothing where none answers."""
    backed.containers.ours["db"] = {"project": "shop"}

    async def told() -> dict[str, object]:
        (backup,) = await backed.backups.create(["db"], "", Progress())
        record = backed.repositories.get("offsite")
        done = await backed.repositories.run(record, Describe(backup=backup.id), Progress())
        return Description.model_validate_json(done.description).model_dump()

    known = {"labels": {"project": "shop"}, "images": {"app:1": "app@sha256:1"}}
    assert known.items() <= (await told()).items()
    backed.containers.failures["known", ""] = Unavailable("it does not answer")
    assert {"labels": {}, "images": {}}.items() <= (await told()).items()


async def test_a_backup_is_finished_before_what_failed_after_its_snapshot_is_told(
    backed: Engine,
) -> None:
    """Hooks surround the snapshot: what follows may take long."""
    backed.containers.failures["execute", "go"] = OperationFailed("exit code 2")
    told = r"db backed up; but 'go' in container app: exit code 2"
    with pytest.raises(OperationFailed, match=told):
        await backed.backups.create(["db"], "", Progress(), hooks=HOOKS)
    (backup,) = await backed.backups.views("db", "", Progress())
    assert backup.files == 0
    await backed.snapshot("db", "nightly")
    with pytest.raises(Invalid, match="of a snapshot that is yet to be taken"):
        await backed.backups.create(["db@nightly"], "", Progress(), hooks=HOOKS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("db: psql -c CHECKPOINT", ("/bin/sh", "-c", "psql -c CHECKPOINT")),
        ("db:echo a: b", ("/bin/sh", "-c", "echo a: b")),
        (' db : ["/app", "a b"]', ("/app", "a b")),
    ],
)
def test_a_command_is_a_line_or_a_list(text: str, words: tuple[str, ...]) -> None:
    """A list needs no shell in the container."""
    assert Command.parsed(text) == Command(container="db", words=words)


@pytest.mark.parametrize(
    "text",
    ["", "db", "db:", ": x", "two words: x", "db: [", "db: []", "db: [1]", 'db: ["\\u0000"]'],
)
def test_what_is_no_command_is_refused(text: str) -> None:
    with pytest.raises(ConvoyError, match=r"CONTAINER: command|is no command"):
        Command.parsed(text)
