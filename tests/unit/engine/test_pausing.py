"""Containers that were held up end in the state in which they were, whatever happens meanwhile."""

import errno
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from docker.errors import APIError

from convoy_py.containers import Container, DockerContainers
from convoy_py.engine.running.pausing import Pausing, stopped
from convoy_py.engine.running.threads import Blocking
from convoy_py.errors import ContainerRestarts, OperationFailed, Unavailable, Unsupported
from tests.fakes_docker import Sdk, connected
from tests.unsynced import Unsynced

REFUSED = APIError("500", explanation="OCI runtime error")
SILENT = TimeoutError("timed out")


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sdk]:
    with connected(monkeypatch) as found:
        yield found


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "paused"


@pytest.fixture
def pausing(sdk: Sdk, notes: Path) -> Pausing:
    return Pausing(DockerContainers("unix:///run/docker.sock"), notes, notes)


@pytest.fixture
def restarted(notes: Path) -> Callable[[], Pausing]:
    """The next daemon's, which has begun."""

    def restarted() -> Pausing:
        pausing = Pausing(DockerContainers("unix:///run/docker.sock"), notes, notes)
        pausing.recover()
        return pausing

    return restarted


def _states(sdk: Sdk) -> dict[str, str]:
    return {name: sdk.state(name) for name in sdk.entries}


def _noted(notes: Path) -> list[object]:
    return [json.loads(note.read_bytes()) for note in notes.glob("*.json")]


def _everyone(sdk: Sdk) -> list[Container]:
    """One in each state in which a container is alive, and the oldest first."""
    return [
        sdk.put(f"c{n}", state=state, started=f"2026-01-01T00:00:0{n}Z")
        for n, state in enumerate(("running", "paused", "running"), 1)
    ]


# Pausing


def test_who_is_paused_is_noted_as_long_as_it_is(pausing: Pausing, sdk: Sdk, notes: Path) -> None:
    """A note that stayed would unpause, one day, what someone else had paused."""
    running, still = sdk.put("db"), sdk.put("idle", state="paused")
    with pausing.paused([running, still]):
        assert _noted(notes) == [["paused", [[running.id, "db"]]]]
        assert _states(sdk) == {"db": "paused", "idle": "paused"}
    assert _noted(notes) == []
    assert _states(sdk) == {"db": "running", "idle": "paused"}


def test_the_next_daemon_unpauses_what_this_one_left(
    sdk: Sdk, notes: Path, pausing: Pausing, restarted: Callable[[], Pausing]
) -> None:
    """Those that stood still before the snapshot go on doing so."""
    running, still = sdk.put("db"), sdk.put("idle", state="paused")
    gone = sdk.put("gone")
    with pausing.paused([running, still, gone]):
        (note,) = notes.glob("*.json")
        left = note.read_bytes()
    note.write_bytes(left)
    sdk.entries["db"]["State"] = "paused"
    del sdk.entries["gone"]
    restarted()
    assert _states(sdk) == {"db": "running", "idle": "paused"}
    assert _noted(notes) == []


@pytest.mark.parametrize("failure", [REFUSED, SILENT])
def test_one_that_cannot_be_unpaused_is_tried_again(
    sdk: Sdk, notes: Path, pausing: Pausing, caplog: pytest.LogCaptureFixture, failure: Exception
) -> None:
    """By this daemon, as often as it takes; the others run at once, and it is said once."""
    chosen = [sdk.put("one"), sdk.put("two")]
    sdk.broken["unpause one"] = failure
    with (
        pytest.raises((OperationFailed, Unavailable), match="could not unpause container one"),
        pausing.paused(chosen),
    ):
        pass
    assert _states(sdk) == {"one": "paused", "two": "running"}
    with caplog.at_level(logging.WARNING):
        pausing.recover()
        pausing.recover()
    assert [record.message for record in caplog.records].count("containers stay paused") == 1
    # Its user has paused the other one since: that is no affair of ours any more.
    sdk.entries["two"]["State"] = "paused"
    del sdk.broken["unpause one"]
    pausing.recover()
    assert _states(sdk) == {"one": "running", "two": "paused"}
    assert _noted(notes) == []


def test_a_second_try_that_succeeds_is_no_failure(sdk: Sdk, notes: Path, pausing: Pausing) -> None:
    """The snapshot is what was asked for, and all run."""
    chosen = [sdk.put("one")]
    sdk.broken["unpause one"] = REFUSED
    sdk.meanwhile["inspect one"] = sdk.broken.clear
    with pausing.paused(chosen):
        pass
    assert _states(sdk) == {"one": "running"}
    assert _noted(notes) == []


def test_what_is_held_up_now_is_not_let_go(sdk: Sdk, pausing: Pausing) -> None:
    """The look for what was left behind comes while a snapshot is taken."""
    chosen = [sdk.put("one")]
    with pausing.paused(chosen):
        pausing.recover()
        assert sdk.state("one") == "paused"
    held = pausing.stop(chosen)
    pausing.recover()
    assert sdk.state("one") == "exited"
    pausing.start(held)
    assert sdk.state("one") == "running"


def test_what_goes_on_is_not_let_go_a_second_time(
    sdk: Sdk, pausing: Pausing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its user may have stopped it by the time that the note goes: until then it is in use."""
    held = pausing.stop([sdk.put("one")])
    unlink = Path.unlink

    def meanwhile(path: Path, missing_ok: bool = False) -> None:
        sdk.entries["one"]["State"] = "exited"
        pausing.recover()
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", meanwhile)
    pausing.start(held)
    assert sdk.state("one") == "exited"


def test_one_that_restarts_is_told(sdk: Sdk, notes: Path, pausing: Pausing) -> None:
    """For it has to be stopped; the others run, and nothing is noted."""
    chosen = [sdk.put("one"), sdk.put("two", state="restarting")]
    with pytest.raises(ContainerRestarts), pausing.paused(chosen):
        pytest.fail("two restarts")
    assert _states(sdk) == {"one": "running", "two": "restarting"}
    assert _noted(notes) == []


# Stopping


def test_each_ends_in_the_state_in_which_it_was(sdk: Sdk, notes: Path, pausing: Pausing) -> None:
    """One that was paused does not run afterwards; one that restarts runs, to crash again."""
    chosen = [*_everyone(sdk), sdk.put("loop", state="restarting")]
    held = pausing.stop(chosen)
    assert set(_states(sdk).values()) == {"exited"}
    pausing.start(held)
    assert _states(sdk) == {"c1": "running", "c2": "paused", "c3": "running", "loop": "running"}
    assert _noted(notes) == []


def test_its_state_is_that_of_the_moment(sdk: Sdk, pausing: Pausing) -> None:
    """Between the list of users and the stop, their owner paused one, stopped and removed."""
    chosen = [sdk.put(name) for name in ("paused", "stopped", "removed")]
    sdk.entries["paused"]["State"] = "paused"
    sdk.entries["stopped"]["State"] = "exited"
    del sdk.entries["removed"]
    held = pausing.stop(chosen)
    assert [container.name for container in held.containers] == ["paused"]
    pausing.start(held)
    assert _states(sdk) == {"paused": "paused", "stopped": "exited"}


def test_one_that_ends_while_another_is_stopped(sdk: Sdk, pausing: Pausing) -> None:
    """A job that was complete by then is not done a second time."""
    chosen = [sdk.put("job"), sdk.put("db", started="2026-01-02T00:00:00Z")]
    sdk.meanwhile["stop db"] = lambda: sdk.entries["job"].update(State="exited")
    pausing.start(pausing.stop(chosen))
    assert _states(sdk) == {"job": "exited", "db": "running"}


@pytest.mark.parametrize("killed", ["stop c3", "stop c2", "stop c1"])
def test_killed_while_they_are_stopped(
    sdk: Sdk, notes: Path, pausing: Pausing, restarted: Callable[[], Pausing], killed: str
) -> None:
    """Each is as it was, whether its turn had come or not."""
    chosen, left = _everyone(sdk), []

    def kill() -> None:
        left.append(next(notes.glob("*.json")).read_bytes())

    sdk.meanwhile[killed] = kill
    pausing.stop(chosen)
    for name in sdk.entries:  # those whose turn had not come
        if name < killed[-2:]:
            sdk.entries[name]["State"] = chosen[int(name[1]) - 1].state
    next(notes.glob("*.json")).write_bytes(left[0])
    restarted()
    assert _states(sdk) == {"c1": "running", "c2": "paused", "c3": "running"}
    assert _noted(notes) == []


def test_killed_between_start_and_pause(
    sdk: Sdk, notes: Path, pausing: Pausing, restarted: Callable[[], Pausing]
) -> None:
    """What was paused is paused by the next daemon."""
    held = pausing.stop(_everyone(sdk))
    left = held.note.read_bytes()
    pausing.start(held)
    sdk.entries["c2"]["State"] = "running"
    held.note.write_bytes(left)
    restarted()
    assert _states(sdk) == {"c1": "running", "c2": "paused", "c3": "running"}


def test_a_note_of_an_older_daemon(sdk: Sdk, notes: Path, restarted: Callable[[], Pausing]) -> None:
    """It does not say in which state they were: they ran."""
    one = sdk.put("one", state="exited")
    notes.mkdir()
    (notes / "old.json").write_text(json.dumps(["stopped", [[one.id, "one"]]]))
    restarted()
    assert _states(sdk) == {"one": "running"}


@pytest.mark.parametrize("failure", [REFUSED, SILENT])
def test_one_that_cannot_be_stopped(
    sdk: Sdk, notes: Path, pausing: Pausing, failure: Exception
) -> None:
    """All are as they were, and nothing is left to be done."""
    sdk.broken["stop c2"] = failure
    with pytest.raises((OperationFailed, Unavailable)):
        pausing.stop(_everyone(sdk))
    assert _states(sdk) == {"c1": "running", "c2": "paused", "c3": "running"}
    assert _noted(notes) == []


def test_one_that_a_stop_would_remove(sdk: Sdk, notes: Path, pausing: Pausing) -> None:
    """It is refused before any other is stopped."""
    chosen = [*_everyone(sdk), sdk.put("rm", auto_remove=True)]
    with pytest.raises(Unsupported, match="--rm"):
        pausing.stop(chosen)
    assert sdk.calls == []
    assert _noted(notes) == []


def test_one_that_cannot_be_started(
    sdk: Sdk, notes: Path, pausing: Pausing, restarted: Callable[[], Pausing]
) -> None:
    """The others are; it is told, and left to its user, who may stop it for good since."""
    held = pausing.stop(_everyone(sdk))
    sdk.broken["start c1"] = REFUSED
    with pytest.raises(OperationFailed, match="could not start container c1"):
        pausing.start(held)
    assert _states(sdk) == {"c1": "exited", "c2": "paused", "c3": "running"}
    assert _noted(notes) == []
    sdk.broken.clear()
    restarted()
    assert sdk.state("c1") == "exited"


def test_what_had_no_answer_is_started_later(sdk: Sdk, notes: Path, pausing: Pausing) -> None:
    """An engine that is being restarted answers again; what it did by then stays as it is."""
    held = pausing.stop(_everyone(sdk))
    sdk.broken["start c1"] = SILENT
    with pytest.raises(Unavailable):
        pausing.start(held)
    sdk.entries["c3"]["State"] = "exited"  # by its user
    sdk.broken.clear()
    pausing.recover()
    assert _states(sdk) == {"c1": "running", "c2": "paused", "c3": "exited"}
    assert _noted(notes) == []


async def test_what_a_block_raises_is_what_is_told(
    sdk: Sdk, pausing: Pausing, caplog: pytest.LogCaptureFixture
) -> None:
    """That a container cannot be started besides is in the log."""
    chosen, blocking = _everyone(sdk), Blocking()
    sdk.broken["start c1"] = REFUSED
    with pytest.raises(RuntimeError, match="disk"):
        async with stopped(pausing, blocking, chosen):
            raise RuntimeError("disk")
    assert _states(sdk) == {"c1": "exited", "c2": "paused", "c3": "running"}
    assert "could not start container c1" in caplog.text
    blocking.close()


@pytest.mark.parametrize("stay", [False, True])
async def test_some_stay_stopped(sdk: Sdk, notes: Path, pausing: Pausing, stay: bool) -> None:
    """Those whose volumes were taken over would go on writing to the old ones."""
    chosen, blocking = _everyone(sdk), Blocking()
    async with stopped(pausing, blocking, chosen, stay=stay) as held:
        assert {container.name for container in held} == {"c1", "c2", "c3"}
    assert set(_states(sdk).values()) == ({"exited"} if stay else {"running", "paused"})
    assert _noted(notes) == []
    blocking.close()


@pytest.mark.parametrize("text", ["{", "[]", '["asleep", []]', '["stopped", [["x"]]]', "5"])
def test_a_note_that_says_nothing_keeps_no_daemon_from_serving(
    sdk: Sdk, notes: Path, restarted: Callable[[], Pausing], text: str
) -> None:
    """Whatever wrote it."""
    notes.mkdir()
    (notes / "bad.json").write_text(text)
    restarted()
    assert sdk.calls == []
    assert _noted(notes) == []


def test_a_note_that_cannot_be_read_just_now_stays(
    sdk: Sdk, notes: Path, pausing: Pausing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon may be out of descriptors for a moment; who is held up is let go after that."""
    container = sdk.put("db", state="paused")
    notes.mkdir()
    (notes / "left.json").write_text(f'["paused", [["{container.id}", "db"]]]')

    def fails(path: Path) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", fails)
        pausing.recover()
    assert _states(sdk) == {"db": "paused"}
    pausing.recover()
    assert (_states(sdk), _noted(notes)) == ({"db": "running"}, [])


def test_a_note_of_a_newer_daemon_stays(
    sdk: Sdk, notes: Path, pausing: Pausing, caplog: pytest.LogCaptureFixture
) -> None:
    """That one will know what it says; it is told once."""
    notes.mkdir()
    note = notes / "newer.json"
    note.write_text('{"format": 2}')
    with caplog.at_level(logging.WARNING):
        pausing.recover()
        pausing.recover()
    assert (sdk.calls, note.read_text()) == ([], '{"format": 2}')
    assert [record.message for record in caplog.records] == ["containers stay held up"]


def _pause_for_a_moment(pausing: Pausing, containers: list[Container]) -> None:
    with pausing.paused(containers):
        pass


# Where it is noted


def test_a_stop_is_on_the_disk_before_it_and_outlives_the_boot(
    sdk: Sdk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine does not start by itself, after a reboot, what was stopped; of a pause it does."""
    run, root = tmp_path / "run", tmp_path / "root"
    root.mkdir()
    pausing = Pausing(DockerContainers("unix:///run/docker.sock"), run, root / "stopped")
    db = sdk.put("db")
    with pausing.paused([db]):
        assert len(_noted(run)) == 1
        assert not (root / "stopped").exists()
    with monkeypatch.context() as patch:
        unsynced = Unsynced(patch)
        halted = pausing.stop([db])
        assert unsynced.left() == set()
    assert _noted(root / "stopped") == [["stopped", [[db.id, "db", "running"]]]]
    run.rmdir()
    Pausing(DockerContainers("unix:///run/docker.sock"), run, root / "stopped").recover()
    assert sdk.state("db") == "running"
    assert _noted(root / "stopped") == []
    pausing.leave(halted)
