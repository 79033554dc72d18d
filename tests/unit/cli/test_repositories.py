"""The commands on repositories: what they ask the daemon, what they print."""

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from convoy_py.cli.terminal.exits import EXIT_CODES
from convoy_py.errors import Kind
from convoy_py.wire.repositories import KeyInfo, KeyList, LockInfo, RepositoryList, Unlocked
from tests.unit.cli.conftest import Run, Screen, Told
from tests.unit.cli.fake_daemon import FakeDaemon, repository

ADD = ("POST", "/v1/repositories")


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "pw"
    path.write_text("canary\n")
    path.chmod(0o600)
    return path


def test_add_sends_the_file_and_what_is_in_it(
    run: Run, daemon: FakeDaemon, password: Path, tmp_path: Path
) -> None:
    """So a daemon that does not see the file can open the repository all the same."""
    keys = tmp_path / "keys"
    keys.write_text("AWS_ACCESS_KEY_ID=a\n")
    keys.chmod(0o600)
    added = repository("offsite", credentials_file=str(keys))
    daemon.done(*ADD, added)
    place = "s3:https://s3.example/bucket/pg"
    files = ("--password-file", str(password), "--credentials-file", str(keys))
    result = run("repository", "add", "offsite", place, *files)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "offsite\n", "")
    assert daemon.requests[0].body == {
        "Name": "offsite",
        "Location": place,
        "PasswordFile": str(password),
        "Password": "canary\n",
        "CredentialsFile": str(keys),
        "Credentials": "AWS_ACCESS_KEY_ID=a\n",
        "Keeper": False,
    }
    shown = json.loads(run("repository", "add", "offsite", place, *files, "--json").stdout)
    assert shown == added.model_dump(mode="json", by_alias=True)


def test_paths_are_sent_from_the_root_on(
    run: Run, daemon: FakeDaemon, password: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon stands in another folder."""
    daemon.done(*ADD, repository("usb"))
    monkeypatch.chdir(password.parent)
    assert run("repository", "add", "usb", "backups", "--password-file", "pw").exit_code == 0
    body = daemon.requests[0].body
    assert body["Location"] == str(password.parent / "backups")
    assert body["PasswordFile"] == str(password)


def test_a_server_without_its_scheme_becomes_no_folder(
    run: Run, daemon: FakeDaemon, password: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it is one."""
    monkeypatch.chdir(password.parent)
    words = ("repository", "add", "offsite", "s3.example/pg", "--password-file", "pw")
    result = run(*words)
    assert result.exit_code == 2
    assert "give s3:https://s3.example/pg or rest:https://s3.example/pg" in result.stderr
    assert not daemon.requests
    Path("s3.example").mkdir()
    daemon.done(*ADD, repository("offsite"))
    assert run(*words).exit_code == 0


@pytest.mark.parametrize(
    ("kept", "line"),
    [
        ({"password_file": ""}, "keeps the password and the credentials of offsite below its root"),
        (
            {"password_file": "", "credentials_file": "/keys"},
            "keeps the password of offsite below its root",
        ),
        ({}, "keeps the credentials of offsite below its root"),
    ],
)
def test_what_the_daemon_keeps_is_said_aloud(
    run: Run, daemon: FakeDaemon, password: Path, kept: dict[str, str], line: str
) -> None:
    """It does not see the file, as in a managed plugin; and what was typed has none."""
    daemon.done(*ADD, repository("offsite", **kept))
    files = ("--password-file", str(password), "--credentials-file", str(password))
    result = run("repository", "add", "offsite", "/srv/b", *files)
    assert result.stdout == "offsite\n"
    assert line in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_file_that_others_may_read_is_told(run: Run, daemon: FakeDaemon, password: Path) -> None:
    """With the command that mends it."""
    daemon.done(*ADD, repository("offsite"))
    password.chmod(0o640)
    result = run("repository", "add", "offsite", "/srv/b", "--password-file", str(password))
    assert (result.exit_code, result.stdout) == (0, "offsite\n")
    assert f"`chmod 600 {password}`" in result.stderr


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "cannot be read: No such file or directory; `head -c 32 /dev/urandom | base64 >"),
        (b" \n", "is empty"),
        (b"canary" * 3000, "is longer than 16384 characters"),
        (b"canary\xff", "is no text in UTF-8"),
    ],
)
def test_a_password_file_that_cannot_be_meant(
    run: Run, daemon: FakeDaemon, told: Told, tmp_path: Path, content: bytes | None, line: str
) -> None:
    """In one line, without what is in it, before the daemon is asked."""
    path = tmp_path / "pw"
    if content is not None:
        path.write_bytes(content)
    result = run("repository", "add", "offsite", "/srv/b", "--password-file", str(path))
    assert result.exit_code == EXIT_CODES[Kind.INVALID]
    shown = told(result)
    assert f"the password file {path} {line}" in shown
    assert "canary" not in shown
    assert daemon.requests == []


def test_without_a_terminal_a_password_file_is_asked_for(
    run: Run, daemon: FakeDaemon, told: Told
) -> None:
    """The line says how to make one."""
    result = run("repository", "add", "offsite", "/srv/b")
    assert result.exit_code == EXIT_CODES[Kind.INVALID]
    assert "`head -c 32 /dev/urandom | base64 > F; chmod 600 F`" in told(result)
    assert daemon.requests == []


def at_a_terminal(module: Mapping[str, Any], *arguments: str, typed: bytes) -> tuple[int, str]:
    """Exit code, and what is seen of a command that asks and is answered at a terminal."""
    ours, theirs = pty.openpty()
    seen = bytearray()

    def look() -> None:
        answers = typed.splitlines(keepends=True)
        try:
            while chunk := os.read(ours, 4096):
                seen.extend(chunk)
                if chunk.rstrip().endswith(b":") and answers:
                    os.write(ours, answers.pop(0))
        except OSError:  # EIO: the other side is closed
            pass

    reader = threading.Thread(target=look)
    command = [sys.executable, "-m", "convoy_py", *arguments]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, **module
    ) as process:
        os.close(theirs)
        reader.start()
        try:
            code = process.wait(30)
        finally:
            process.kill()
            reader.join()
            os.close(ours)
    return code, seen.decode()


@pytest.mark.parametrize("typed", [b"canary\ncanary\n", b"canary\nother\ncanary\ncanary\n"])
def test_a_terminal_is_asked_for_the_password_twice(
    daemon: FakeDaemon, module: Mapping[str, Any], typed: bytes
) -> None:
    """What is typed is not shown, and a slip is asked again."""
    daemon.done(*ADD, repository("offsite", password_file=""))
    code, seen = at_a_terminal(module, "repository", "add", "offsite", "/srv/b", typed=typed)
    assert code == 0, seen
    assert "canary" not in seen
    assert "keeps the password of offsite" in seen
    body = daemon.requests[0].body
    assert (body["Password"], body["PasswordFile"]) == ("canary", "")


@pytest.mark.parametrize("words", [("", "/srv/b"), ("a@b", "/srv/b"), ("..", "/srv/b"), ("a", "")])
def test_add_refuses_what_cannot_be_meant(
    run: Run, daemon: FakeDaemon, told: Told, password: Path, words: tuple[str, ...]
) -> None:
    """In one line, before the daemon is asked."""
    result = run("repository", "add", *words, "--password-file", str(password))
    assert result.exit_code == EXIT_CODES[Kind.INVALID]
    assert "invalid repository name" in told(result) or "it is empty" in told(result)
    assert daemon.requests == []


KNOWN = RepositoryList(repositories=[repository("offsite"), repository("usb", password_file="")])


def test_list_in_a_pipe_is_json(run: Run, daemon: FakeDaemon) -> None:
    """A list."""
    daemon.answer("GET", "/v1/repositories", KNOWN)
    shown = json.loads(run("repository", "list").stdout)
    assert shown == KNOWN.model_dump(mode="json", by_alias=True)["Repositories"]


def test_list_on_a_terminal_is_a_table(screen: Screen, daemon: FakeDaemon) -> None:
    """With where the password comes from."""
    daemon.answer("GET", "/v1/repositories", KNOWN)
    code, shown = screen("repository", "list")
    assert code == 0
    head, offsite, usb = (line.split() for line in shown.splitlines())
    assert head == ["NAME", "LOCATION", "PASSWORD", "ADDED", "ID"]
    assert offsite == [
        *("offsite", "/srv/offsite", "/etc/convoy/offsite.pw", "2026-01-02T03:04:05Z", "01234567")
    ]
    assert usb[2] == "kept"


def test_inspect_is_json(run: Run, daemon: FakeDaemon) -> None:
    """As the daemon told it."""
    daemon.answer("GET", "/v1/repositories/offsite", repository("offsite"))
    shown = json.loads(run("repository", "inspect", "offsite").stdout)
    assert shown == repository("offsite").model_dump(mode="json", by_alias=True)


def test_remove_tries_every_name(run: Run, daemon: FakeDaemon) -> None:
    """Those that are gone are printed."""
    daemon.answer("DELETE", "/v1/repositories/usb", status=204)
    result = run("repository", "remove", "nosuch", "usb")
    assert (result.exit_code, result.stdout) == (EXIT_CODES[Kind.NOT_FOUND], "usb\n")
    assert result.stderr == "convoy: remove nosuch: no such thing: /v1/repositories/nosuch\n"


@pytest.mark.parametrize("command", ["inspect", "remove"])
@pytest.mark.parametrize("name", ["..", "a/b", "", "a@b"])
def test_a_name_leads_to_no_other_path(
    run: Run, daemon: FakeDaemon, command: str, name: str
) -> None:
    """It is called a repository's."""
    result = run("repository", command, "--", name)
    assert result.exit_code == EXIT_CODES[Kind.INVALID]
    assert "invalid repository name" in result.stderr
    assert daemon.requests == []


KEY = KeyInfo(
    id="cd" * 32, created="2026-01-02T03:04:05+01:00", user="root", host="db-1", in_use=True
)


def test_keys_are_shown(run: Run, screen: Screen, daemon: FakeDaemon) -> None:
    """With which of them is in use."""
    daemon.done("GET", "/v1/repositories/offsite/keys", KeyList(keys=[KEY]))
    result = run("repository", "key", "list", "offsite")
    assert json.loads(result.stdout) == [KEY.model_dump(by_alias=True)]
    _, shown = screen("repository", "key", "list", "offsite")
    assert shown.splitlines()[1].split() == [
        *("cdcdcdcd", "root", "db-1", "2026-01-02T03:04:05+01:00", "here")
    ]


def test_a_key_is_added_by_a_file(run: Run, daemon: FakeDaemon, password: Path) -> None:
    """Never by an argument."""
    daemon.done("POST", "/v1/repositories/offsite/keys", KEY)
    file = ("--new-password-file", str(password))
    result = run("repository", "key", "add", "offsite", *file)
    assert (result.exit_code, result.stdout) == (0, "cdcdcdcd\n")
    assert daemon.requests[0].body == {"Password": "canary\n"}


def test_a_key_is_added_with_nothing_to_ask_nobody(run: Run, told: Told) -> None:
    """The line names the option."""
    result = run("repository", "key", "add", "offsite")
    assert result.exit_code == EXIT_CODES[Kind.INVALID]
    assert "new password by --new-password-file F" in told(result)


def test_a_key_is_removed(run: Run, daemon: FakeDaemon) -> None:
    daemon.done("POST", "/v1/repositories/offsite/keys/remove", KEY)
    result = run("repository", "key", "remove", "offsite", "cdcd")
    assert (result.exit_code, result.stdout) == (0, "cdcdcdcd\n")
    assert daemon.requests[0].body == {"Key": "cdcd"}


def test_unlock_says_who_has_what(run: Run, daemon: FakeDaemon) -> None:
    """What is gone on stdout, who has what stays, or was robbed, on stderr."""
    lock = LockInfo(id="ab" * 32, exclusive=True, told="exclusively by root@there")
    unlock = ("POST", "/v1/repositories/offsite/unlock")
    daemon.done(*unlock, Unlocked(unlocked=[lock], locked=[lock]))
    result = run("repository", "unlock", "offsite")
    assert (result.exit_code, result.stdout) == (0, "abababab\n")
    assert result.stderr == "convoy: still locked exclusively by root@there\n"
    result = run("repository", "unlock", "offsite", "--remove-all")
    assert daemon.requests[-1].body == {"All": True}
    assert "removed the lock exclusively by root@there: if that one works still" in result.stderr


def test_the_keeper_is_said_at_add(run: Run, daemon: FakeDaemon, password: Path) -> None:
    daemon.done(*ADD, repository("offsite", keeper="here"))
    words = ("--password-file", str(password), "--keeper")
    assert run("repository", "add", "offsite", "/srv/b", *words).exit_code == 0
    body = daemon.requests[0].body
    assert body
    assert body["Keeper"] is True
