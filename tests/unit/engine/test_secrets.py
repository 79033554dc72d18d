"""A repository's secrets are in files and pipes alone: nothing that can be looked at shows them."""

import asyncio
import logging
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from convoy_py.api import access, admin
from convoy_py.api.app import admin_app, serve
from convoy_py.config import Configuration
from convoy_py.engine.steps.sessions import Sessions
from convoy_py.engine.verbs.repositories import Secret
from convoy_py.linux.outside import Outside
from convoy_py.linux.peers import Peer
from convoy_py.logs import JsonLines, TextLines
from convoy_py.models import session
from convoy_py.models.session import Access, ListBackups, Request
from convoy_py.settings import Settings
from convoy_py.wire.repositories import AddKey, AddRepository
from tests.fakes_engine import Engine
from tests.unit.api.rest import ask
from tests.unit.api.wire import Socket

CANARY = "canary-0123456789"
Convoy = Callable[..., Any]


@pytest.fixture(autouse=True)
def forked_sessions() -> None:
    """None here: with what they are started is looked at."""


@pytest.fixture
async def served(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Socket]:
    """The admin API over an engine whose sessions are real."""
    monkeypatch.setattr(access, "peer", lambda sock: Peer(os.getpid(), 0, 0))
    monkeypatch.setattr(admin, "PATIENCE_SECONDS", 30.0)
    url = SecretStr(f"https://host/{CANARY}")
    settings = Settings(webhook=url, ping=url)
    configuration = Configuration(settings, dict.fromkeys(Settings.model_fields, "default"))
    app = admin_app(engine.verbs, engine.metrics, configuration, engine.wall, Outside())
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(path))
        sock.listen()
        runner = await serve(app, sock)
        yield Socket(path)
        await runner.cleanup()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """With what each process was started: its arguments and its environment."""
    seen: list[str] = []
    start = subprocess.Popen.__init__

    def watched(process: Any, arguments: Any, *rest: Any, **how: Any) -> None:
        seen.append(f"{arguments} {how.get('env')}")
        start(process, arguments, *rest, **how)

    monkeypatch.setattr(subprocess.Popen, "__init__", watched)
    return seen


@pytest.fixture
def secret(tmp_path: Path) -> Callable[[str, str], str]:
    """A file with a secret, as a user has it."""

    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    return write


async def convoy(daemon: Socket, *words: str) -> str:
    """All that the command shows, with what it tells for debugging."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "convoy_py", "--debug", "--socket", str(daemon.path), *words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=Path(__file__).parents[3],
    )
    shown, _ = await process.communicate()
    return f"convoy {' '.join(words)}\n{shown.decode()}"


async def test_no_secret_is_shown_by_what_anyone_can_look_at(
    served: Socket,
    tmp_path: Path,
    started: list[str],
    secret: Callable[[str, str], str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The command's output, answers and errors of the API, jobs, logs, arguments, environment."""
    caplog.set_level(logging.DEBUG)
    place = str(tmp_path / "repository")
    right, wrong = secret("right", f"{CANARY}\n"), secret("wrong", f"{CANARY}-wrong\n")
    keys = secret("keys", f"AWS_SECRET_ACCESS_KEY={CANARY}\n")
    add = ("repository", "add", "offsite", place, "--credentials-file", keys, "--password-file")
    shown = [
        await convoy(served, *add, right),
        await convoy(served, *add, wrong),
        await convoy(served, "repository", "list"),
        await convoy(served, "jobs"),
    ]
    assert shown[0].endswith("\noffsite\n")
    assert "password" in shown[1]
    kept = {"Name": "kept", "Location": place, "PasswordFile": "/nowhere", "Password": CANARY}
    bodies: list[dict[str, Any]] = [
        kept,
        kept | {"Name": "other", "Password": f"{CANARY}-wrong"},
        kept | {"Password": [CANARY]},
        kept | {"Passwort": CANARY},
        kept | {"Name": ""},
    ]
    statuses = []
    for body in bodies:
        answer = await ask(served, "POST", "/v1/repositories", body)
        statuses.append(answer.status)
        shown.append(answer.body.decode())

    for key in (f"{CANARY}-new", [CANARY]):
        answer = await ask(served, "POST", "/v1/repositories/offsite/keys", {"Password": key})
        statuses.append(answer.status)
        shown.append(answer.body.decode())
    answers = [await ask(served, "GET", path) for path in ("/v1/info", "/metrics", "/v1/jobs")]
    shown += [answer.body.decode() for answer in answers]

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(Sessions, "run_with", fail)
        answer = await ask(served, "POST", "/v1/repositories", kept | {"Name": "faulty"})
    statuses.append(answer.status)
    assert statuses == [200, 403, 400, 400, 400, 200, 400, 500]
    shown += [answer.body.decode(), *started]
    for lines in (TextLines(), JsonLines()):
        shown += [lines.format(record) for record in caplog.records]
    assert any("ZeroDivisionError" in each for each in shown)
    assert len(started) >= 5
    assert [each for each in shown if CANARY in each] == []
    assert [p.name for p in tmp_path.glob("root/repositories/*") if CANARY in p.read_text()] == [
        "kept.password"
    ]


def test_no_secret_is_in_what_values_say_of_themselves() -> None:
    """As in a traceback, or in a line for debugging."""
    reached = Access(
        location="/srv", password=CANARY, credentials={"KEY": CANARY}, host="here", patience=1
    )
    asked = AddRepository(name="a", location="/srv", password=CANARY, credentials=CANARY)
    values: tuple[object, ...] = (
        reached,
        Request(access=reached, task=ListBackups()),
        asked,
        Secret("f", CANARY),
        session.AddKey(new_password=CANARY),
        AddKey(password=CANARY),
        Settings(webhook=SecretStr(f"https://{CANARY}"), ping=SecretStr(f"/{CANARY}")),
    )
    for value in values:
        assert CANARY not in f"{value!r} {value}"


def test_a_session_leaves_no_core() -> None:
    """Which would hold the password and the master key."""
    asked = (
        "import ctypes\n"
        "from convoy_py.session import __main__ as session\n"
        "try:\n"
        "    session.main()\n"
        "except EOFError:\n"
        "    print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))\n"  # PR_GET_DUMPABLE
    )
    run = [sys.executable, "-c", asked]
    done = subprocess.run(run, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    assert done.stdout == b"0\n"


@pytest.mark.parametrize(
    "read", [session.heard, AddRepository.model_validate_json, AddKey.model_validate_json]
)
def test_no_secret_is_in_what_is_not_understood(read: Callable[[str], object]) -> None:
    """As by a session of another version than the daemon's."""
    text = f'{{"access": {{"password": "{CANARY}"}}, "Password": ["{CANARY}"]}}'
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - whatever it says
        read(text)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
