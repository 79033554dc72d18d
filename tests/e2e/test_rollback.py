"""Going back: a whole volume, and a single file of it; and what has changed since."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from tests.e2e.command import CommandError
from tests.e2e.daemon import Daemon
from tests.e2e.engine import Engine, crash_loop, prints, state
from tests.e2e.waiting import until

pytestmark = [pytest.mark.docker, pytest.mark.root]

# As a database runs: by a user of its own, in a folder of its own.
USER = "999:998"
PREPARE = f"mkdir -m 750 /data/db; echo old > /data/db/file; chown -R {USER} /data/db"
SHOW = "stat -c '%u:%g %a' /data/db /data/db/file; cat /data/db/file; ls -A /data /data/db"
OLD = "999:998 750\n999:998 644\nold\n/data:\ndb\n\n/data/db:\nfile\n"
NEW = "999:998 750\n999:998 644\nnew\n/data:\ndb\n\n/data/db:\nfile\nmore\n"


@pytest.fixture
def changed(engine: Engine, owner: Daemon, db: str) -> str:
    """A volume that was OLD in its snapshot `s`, and is NEW now."""
    engine.run(PREPARE, f"{db}:/data")
    owner.convoy("snapshot", "create", db, "--name", "s")
    engine.run("echo new > /data/db/file; echo more > /data/db/more", f"{db}:/data", user=USER)
    return db


@pytest.mark.parametrize("way", ["reflink", "subvolume", "inside"], indirect=True)
def test_there_and_back(engine: Engine, owner: Daemon, changed: str) -> None:
    """12.5: refused while it is in use; then all is as it was, and the undo is a rollback too."""
    user = engine.background(f"{changed}:/data", name=f"{changed}-user")
    with pytest.raises(CommandError, match=f"in use by container {user.id[:12]}"):
        owner.convoy("rollback", f"{changed}@s")
    assert prints(user, ["sh", "-c", SHOW]).decode() == NEW
    user.remove(force=True)
    saved = owner.convoy("rollback", f"{changed}@s").strip()
    assert saved.startswith(f"{changed}@before-rollback-")
    assert engine.run(SHOW, f"{changed}:/data") == OLD
    assert engine.run(SHOW, f"{saved}:/data:ro") == NEW
    owner.convoy("rollback", saved)
    assert engine.run(SHOW, f"{changed}:/data") == NEW
    owner.convoy("snapshot", "delete", saved)
    assert engine.run(SHOW, f"{changed}@s:/data:ro") == OLD


@pytest.mark.parametrize("way", ["reflink", "subvolume"], indirect=True)
def test_containers_stopped(engine: Engine, owner: Daemon, changed: str) -> None:
    """12.5: its containers are stopped for it and started again, and see the old data."""
    users = [engine.background(f"{changed}:/data") for _ in range(2)]
    users += [engine.background(f"{changed}:/data", restart_policy={"Name": "always"})]
    done = owner.told("rollback", f"{changed}@s", "--stop-containers")
    assert sorted(done["Stopped"]) == sorted(
        f"container {user.name} ({user.id[:12]})" for user in users
    )
    for user in users:
        user.reload()
        assert user.status == "running"
        assert prints(user, ["sh", "-c", SHOW]).decode() == OLD
    # Asked to stop a container that it would remove, it stops none.
    ending = engine.background(f"{changed}:/data", auto_remove=True)
    with pytest.raises(CommandError, match=f"{ending.name}.* runs with --rm"):
        owner.convoy("rollback", done["SavedAs"], "--stop-containers")
    assert prints(users[0], ["sh", "-c", SHOW]).decode() == OLD


@pytest.mark.parametrize("way", ["reflink"], indirect=True)
def test_each_container_is_as_it_was(engine: Engine, owner: Daemon, changed: str) -> None:
    """12.5: one that was paused is paused, one in a crash loop is in it; what ended has ended."""
    runs, still, ended = (engine.background(f"{changed}:/data") for _ in range(3))
    loop = crash_loop(engine, f"{changed}:/data")
    still.pause()
    ended.stop()
    owner.convoy("rollback", f"{changed}@s", "--stop-containers")
    assert prints(runs, ["sh", "-c", SHOW]).decode() == OLD
    assert [state(each) for each in (runs, still, ended)] == ["running", "paused", "exited"]
    still.unpause()
    assert prints(still, ["sh", "-c", SHOW]).decode() == OLD
    until(lambda: state(loop) == "restarting", "the next crash")


@pytest.mark.parametrize("way", ["reflink"], indirect=True)
def test_killed_while_they_are_stopped(engine: Engine, owner: Daemon, changed: str) -> None:
    """12.5: the next daemon has every container as it was, whatever had been done by then."""
    runs, still = (engine.background(f"{changed}:/data") for _ in range(2))
    still.pause()

    def noted() -> list[list[str]]:
        with suppress(FileNotFoundError):  # it ends just now
            for note in (owner.root / "stopped").glob("*.json"):
                return list(json.loads(note.read_text(encoding="utf-8"))[1])
        return []

    with ThreadPoolExecutor(1) as background:
        rollback = background.submit(owner.convoy, "rollback", f"{changed}@s", "--stop-containers")
        until(lambda: len(noted()) == 2, "the stop of the second")
        owner.kill()
        with pytest.raises(CommandError):
            rollback.result()
    owner.start()
    until(lambda: [state(runs), state(still)] == ["running", "paused"], "all as it was")
    assert prints(runs, ["sh", "-c", SHOW]).decode() in (OLD, NEW)
    until(lambda: not noted(), "the end of it")


@pytest.mark.parametrize("way", ["inside"], indirect=True)
def test_mounted_by_hand(engine: Engine, owner: Daemon, changed: str) -> None:
    """12.5: nor is it done to what an operator has mounted, and it says how to end that."""
    owner.convoy("mount", changed)
    with pytest.raises(CommandError, match=f"convoy umount {changed}"):
        owner.convoy("rollback", f"{changed}@s", "--stop-containers")
    owner.convoy("umount", changed)
    owner.convoy("rollback", f"{changed}@s", "--stop-containers")
    assert engine.run(SHOW, f"{changed}:/data") == OLD


@pytest.mark.parametrize("way", ["reflink", "files"], indirect=True)
def test_diff(engine: Engine, owner: Daemon, changed: str) -> None:
    """12.6: what a container added, changed and removed since, and between two snapshots."""
    user = engine.background(f"{changed}:/data")
    found = owner.told("diff", f"{changed}@s")
    told = {(each["Kind"], each["Path"]): each["What"] for each in found["Changes"]}
    assert told.keys() >= {("changed", "db/file"), ("added", "db/more")}
    assert "content" in told["changed", "db/file"]
    assert (found["Added"], found["Removed"], found["Bytes"]) == (1, 0, len("new\nmore\n"))
    owner.convoy("snapshot", "create", changed, "--name", "t")
    user.exec_run(["rm", "/data/db/file"])
    found = owner.told("diff", f"{changed}@t")
    assert ("removed", "db/file") in {(each["Kind"], each["Path"]) for each in found["Changes"]}
    assert (found["Added"], found["Removed"]) == (0, 1)
    assert owner.told("diff", f"{changed}@s", f"{changed}@t")["Removed"] == 0


@pytest.mark.parametrize("way", ["reflink", "subvolume"], indirect=True)
def test_restore_file(engine: Engine, owner: Daemon, changed: str) -> None:
    """12.6: a container that runs has one file back, with owner and mode; the rest stays."""
    user = engine.background(f"{changed}:/data", user=USER)
    assert owner.convoy("restore-file", f"{changed}@s:db/file") == "db/file\n"
    shown = prints(user, ["sh", "-c", SHOW]).decode()
    assert shown == NEW.replace("new\n", "old\n")
    user.exec_run(["rm", "-r", "/data/db/file", "/data/db/more"])
    owner.convoy("restore-file", f"{changed}@s:/db")
    assert prints(user, ["sh", "-c", SHOW]).decode() == OLD
    for path in ("absent", "db/absent", "../x"):
        with pytest.raises(CommandError, match=path):
            owner.convoy("restore-file", f"{changed}@s:{path}")
    assert prints(user, ["sh", "-c", SHOW]).decode() == OLD
