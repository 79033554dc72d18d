"""How requests of the admin API are read, answered and recorded."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from convoy_py.errors import Kind, NoSpace, Unsupported
from convoy_py.linux.peers import Peer
from tests.fakes import FakeVerbs, FakeVolumes
from tests.unit.api.rest import ask, assert_failed
from tests.unit.api.wire import Socket


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/v1/info"),
        ("GET", "/v1/volumes"),
        ("POST", "/v1/volumes"),
        ("GET", "/v1/volumes/db"),
        ("DELETE", "/v1/volumes/db"),
        ("POST", "/v1/volumes/db/mount"),
        ("POST", "/v1/volumes/db/umount"),
        ("GET", "/v1/snapshots"),
        ("POST", "/v1/volumes/db/snapshots"),
        ("GET", "/v1/df"),
        ("GET", "/v1/trash"),
        ("GET", "/v1/jobs"),
    ],
)
async def test_calls_wait_until_the_records_are_read(
    admin: Socket, engine: FakeVolumes, method: str, target: str
) -> None:
    """An answer before would be a wrong one."""
    engine.opened.clear()
    waiting = asyncio.create_task(ask(admin, method, target))
    assert (await ask(admin, "GET", "/healthz")).status == 200
    assert not waiting.done()
    engine.add("db")
    engine.opened.set()
    assert (await waiting).status < 300


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (NoSpace("full"), 507, Kind.NO_SPACE),
        (Unsupported("not on tmpfs"), 422, Kind.UNSUPPORTED),
        (RuntimeError("/secret"), 500, Kind.FAILED),
    ],
)
async def test_a_failure_has_the_status_of_its_kind(
    admin: Socket, engine: FakeVolumes, error: Exception, status: int, kind: Kind
) -> None:
    """Scripts tell failures apart by kind; what nobody foresaw shows none of its details."""
    engine.failures["create"] = error
    answer = await ask(admin, "POST", "/v1/volumes", {"Name": "db"})
    assert_failed(answer, status, kind, "volume db: ")
    assert "secret" not in answer.json["Error"]


@pytest.mark.parametrize(
    ("method", "target", "body", "part"),
    [
        ("POST", "/v1/volumes", {"Name": "db", "Sise": 1}, "Sise"),
        ("POST", "/v1/volumes", {"Name": 7}, "Name"),
        ("POST", "/v1/volumes", {"Options": {"size": 1}}, "Options: size"),
        ("POST", "/v1/volumes", {"Name": "../x"}, "invalid volume name"),
        ("POST", "/v1/volumes", {"Name": "db", "Options": {"sise": "1"}}, "unknown option"),
        ("POST", "/v1/volumes", b"{", "JSON"),
        ("POST", "/v1/volumes", b"[" * 60_000, "JSON"),
        ("POST", "/v1/volumes", b" " * 70_000, "larger than"),
        ("POST", "/v1/volumes?adopt=true", {"Name": "db"}, "adopt"),
        ("POST", "/v1/volumes/db/mount", {"Reference": ""}, "Reference"),
        ("GET", "/v1/volumes?filter=x", b"", "filter"),
        ("GET", "/v1/volumes", {"Name": "db"}, "no body"),
        ("GET", "/v1/volumes/a%2Fb", b"", "invalid volume name"),
        ("GET", "/v1/volumes/db%0A", b"", "invalid volume name"),
        ("GET", "/v1/volumes/db@", b"", "invalid snapshot name"),
        ("GET", "/v1/volumes/db@a@b", b"", "invalid snapshot name 'a@b'"),
        ("GET", "/v1/volumes/@nightly", b"", "invalid volume name"),
        ("POST", "/v1/volumes", {"Name": "db@nightly"}, "invalid volume name"),
        ("DELETE", "/v1/volumes/db@nightly", b"", "`convoy snapshot delete db@nightly` deletes it"),
        ("POST", "/v1/volumes/db@x/snapshots", {}, "db@x names a snapshot"),
        ("POST", "/v1/volumes/db@/protect", {}, "invalid volume name 'db@'"),
        ("POST", "/v1/snapshots", {"Volumes": ["db@x"]}, "db@x names a snapshot"),
        ("POST", "/v1/release", {"Name": "db@x"}, "`convoy clone db@x NEW`"),
        ("GET", "/v1/volumes/db@x/snapshots/y", b"", "invalid snapshot name 'x@y'"),
        ("DELETE", "/v1/volumes/db/snapshots/-y", b"", "invalid snapshot name '-y'"),
        ("DELETE", "/v1/snapshots/..", b"", "invalid volume name"),
        ("POST", "/v1/volumes/db/snapshots", {"Name": "a/b"}, "invalid snapshot name"),
        ("POST", "/v1/snapshots", {"Volumes": ["db", "a/b"]}, "invalid volume name 'a/b'"),
        ("POST", "/v1/volumes/db/rollback", {}, "Snapshot"),
        ("POST", "/v1/volumes/db/clone", {"Name": "a@b"}, "invalid volume name 'a@b'"),
        ("POST", "/v1/volumes/db/clone", {"Name": "x", "Options": {"sise": "1"}}, "unknown option"),
        ("POST", "/v1/volumes/db/resize", {"Size": "20X"}, "20X"),
        ("POST", "/v1/volumes/db/convert", {"Options": {"sise": "1"}}, "unknown option"),
        ("POST", "/v1/volumes/db/rename", {"Name": "a/b"}, "invalid volume name"),
        ("GET", "/v1/volumes/db/diff", b"", "from"),
        ("GET", "/v1/volumes/db/diff?from=", b"", "from"),
        ("GET", "/v1/volumes/db/diff?from=a&till=b", b"", "till"),
        ("POST", "/v1/adopt", {}, "either DockerVolume or ComposeProject"),
        ("POST", "/v1/adopt", {"DockerVolume": "pg", "ComposeProject": "x"}, "either"),
        ("POST", "/v1/adopt", {"DockerVolume": "pg", "Name": "a/b"}, "invalid volume name"),
        ("POST", "/v1/release", {}, "either Name or ComposeProject"),
        ("POST", "/v1/release", {"Name": "pg", "ComposeProject": "x"}, "either"),
        ("POST", "/v1/release", {"Name": "pg", "DockerVolume": "a/b"}, "invalid volume name"),
        ("POST", "/v1/trash/restore", {"Name": "db", "AsName": "a/b"}, "invalid volume name"),
        ("DELETE", "/v1/volumes/db?reference=perhaps", b"", "reference"),
        ("DELETE", "/v1/volumes/db?keep=true", b"", "keep"),
        ("DELETE", "/v1/volumes/db?reference=true&reference=false", b"", "twice"),
    ],
)
async def test_what_is_not_understood_is_refused(
    admin: Socket,
    engine: FakeVolumes,
    verbs: FakeVerbs,
    *,
    method: str,
    target: str,
    body: object,
    part: str,
) -> None:
    """Nothing given is ever ignored silently."""
    engine.add("db")
    answer = await ask(admin, method, target, body)
    assert_failed(answer, 400, Kind.INVALID, part)
    assert set(engine.known) == {"db"}
    assert verbs.jobs.list() == []


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/"), ("GET", "/v2/info"), ("PUT", "/v2"), ("GET", "/%0a")],
)
async def test_an_unknown_path_is_404(admin: Socket, method: str, target: str) -> None:
    """The body is a Failure like any other."""
    for query, body in (("", b""), ("?a=b", b"{")):
        answer = await ask(admin, method, target + query, body)
        assert_failed(answer, 404, Kind.NOT_FOUND, "openapi")


@pytest.mark.parametrize(
    ("method", "target", "allow"),
    [
        ("PUT", "/v1/volumes", "GET, POST"),
        ("POST", "/v1/volumes/db", "GET, DELETE"),
        ("GET", "/v1/volumes/db/mount", "POST"),
        ("DELETE", "/healthz", "GET"),
    ],
)
async def test_a_method_that_a_path_has_not_is_405(
    admin: Socket, engine: FakeVolumes, method: str, target: str, allow: str
) -> None:
    """The header says which it has; the body is a Failure like any other."""
    engine.add("db")
    answer = await ask(admin, method, target)
    assert_failed(answer, 405, Kind.UNSUPPORTED, "method")
    assert answer.headers["allow"] == allow


@pytest.mark.parametrize(
    ("method", "target", "body", "operation", "name", "result"),
    [
        ("POST", "/v1/volumes", {"Name": "new"}, "create", "new", "ok"),
        ("POST", "/v1/volumes", {"Name": "new", "Options": {"x": "1"}}, "create", "new", "invalid"),
        ("DELETE", "/v1/volumes/db", b"", "delete", "db", "ok"),
        ("DELETE", "/v1/volumes/nosuch", b"", "delete", "nosuch", "not-found"),
        ("POST", "/v1/volumes/db/mount", {}, "mount", "db", "ok"),
        ("POST", "/v1/volumes/db/umount", {}, "umount", "db", "ok"),
        ("POST", "/v1/volumes/db/rename", {"Name": "new"}, "rename", "db", "ok"),
        ("POST", "/v1/volumes/db/protect", {}, "protect", "db", "ok"),
        ("DELETE", "/v1/volumes/db/snapshots/x", b"", "snapshot_delete", "db@x", "not-found"),
        ("POST", "/v1/volumes/db/clone", {"Name": "new"}, "clone", "new", "ok"),
        ("POST", "/v1/volumes/db/resize", {"Size": "2G"}, "resize", "db", "ok"),
        ("POST", "/v1/trash/purge", {"Name": "old"}, "trash_purge", "old", "ok"),
    ],
)
async def test_every_change_is_one_audit_line(
    admin: Socket,
    engine: FakeVolumes,
    caller: Peer,
    caplog: pytest.LogCaptureFixture,
    counted: Callable[[], dict[str, float]],
    *,
    method: str,
    target: str,
    body: Any,
    operation: str,
    name: str,
    result: str,
) -> None:
    """Who asked for what on which volume, and how it ended; reads leave none."""
    caplog.set_level(logging.INFO, "convoy")
    engine.add("db")
    await ask(admin, "GET", "/v1/volumes/db")
    await ask(admin, method, target, body)
    told = [r for r in caplog.records if r.name.startswith("convoy")]
    (record,) = [r for r in told if r.name != "convoy.jobs"]
    fields = vars(record)["convoy_fields"]
    assert (record.name, record.getMessage()) == ("convoy.audit", operation)
    assert (fields["uid"], fields["pid"], fields["result"]) == (0, caller.pid, result)
    assert fields["volume"] == name
    assert counted()[f'api="admin",operation="{operation}",result="{result}"'] == 1
