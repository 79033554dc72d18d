"""The REST API: what each route does, how failures are told, who is admitted, what is recorded."""

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Any

import pytest

from convoy_py.api import access
from convoy_py.api.admin import Admin
from convoy_py.api.app import admin_app
from convoy_py.api.requests import Nothing
from convoy_py.api.rest import Call
from convoy_py.config import Configuration, Settings
from convoy_py.engine.references import OPERATOR
from convoy_py.errors import InvalidSetting, Kind, NoSpace, Unsupported
from convoy_py.linux.peers import Peer
from convoy_py.metrics import Metrics
from convoy_py.models.volume import Options, Spec
from convoy_py.wire.admin import Info, VolumeInfo, VolumeList
from tests.fakes import NOW, FakeVolumes
from tests.unit.api.conftest import Serve
from tests.unit.api.wire import Answer, Socket

HEADERS = "Host: convoy\r\nConnection: close\r\n"


async def ask(
    socket: Socket, method: str, target: str, body: object = b"", *, headers: str = ""
) -> Answer:
    answer = await socket.request(target, body, method=method, headers=HEADERS + headers)
    assert answer is not None
    return answer


def assert_failed(answer: Answer, status: int, kind: Kind, *parts: str) -> None:
    assert answer.headers["content-type"].startswith("application/json")
    assert set(answer.json) == {"Error", "Kind"}
    assert (answer.status, answer.json["Kind"]) == (status, kind)
    for part in parts:
        assert part in answer.json["Error"]


async def test_a_volume_lives_through_the_api(admin: Socket, engine: FakeVolumes) -> None:
    """Create, inspect, list, mount, umount, delete, with the statuses that REST clients expect."""
    wanted = {"Name": "db", "Options": {"size": "1G"}}
    created = await ask(admin, "POST", "/v1/volumes", wanted)
    assert created.status == 201
    info = VolumeInfo.model_validate_json(created.body)
    assert (info.name, info.driver, info.state) == ("db", "loopback", "ready")
    assert info.created_time == "2026-01-02T03:04:05Z"
    assert info.driver_info == {
        "Driver": "loopback",
        "Filesystem": "ext4",
        "MountPoint": "",
        "Size": str(2**30),
        "VolumeCreatedAt": "2026-01-02T03:04:05Z",
        "VolumeName": "db",
    }
    assert engine.asked["db"] == Options(size=2**30)
    mounted = await ask(admin, "POST", "/v1/volumes/db/mount", {"Reference": "backup"})
    assert (mounted.status, mounted.json) == (200, {"MountPoint": "/run/convoy/mounts/db/data"})
    assert engine.holds == [("db", "backup", OPERATOR)]
    inspected = await ask(admin, "GET", "/v1/volumes/db")
    assert inspected.json["References"] == 1
    listed = await ask(admin, "GET", "/v1/volumes")
    assert VolumeList.model_validate_json(listed.body).volumes == {
        "db": VolumeInfo.model_validate_json(inspected.body)
    }
    ended = await ask(admin, "POST", "/v1/volumes/db/umount", {"Reference": "backup"})
    assert (ended.status, ended.body) == (204, b"")
    assert engine.holds == []
    assert engine.released == [("db", "backup", OPERATOR)]
    deleted = await ask(admin, "DELETE", "/v1/volumes/db")
    assert (deleted.status, deleted.body) == (204, b"")
    assert engine.known == {}


async def test_create_makes_up_a_name(admin: Socket, engine: FakeVolumes) -> None:
    """A request without a name, or without a body, gets a volume with a name of its own."""
    first = await ask(admin, "POST", "/v1/volumes")
    second = await ask(admin, "POST", "/v1/volumes", {})
    assert first.json["Name"] != second.json["Name"]
    assert set(engine.known) == {first.json["Name"], second.json["Name"]}


async def test_a_name_that_was_made_up_is_in_the_audit_log(
    admin: Socket, engine: FakeVolumes, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise nobody could tell whose volume it is."""
    caplog.set_level(logging.INFO, "convoy")
    name = (await ask(admin, "POST", "/v1/volumes")).json["Name"]
    assert [vars(r)["convoy_fields"]["volume"] for r in caplog.records] == [name]


async def test_adopt_and_reference_reach_the_engine(admin: Socket, engine: FakeVolumes) -> None:
    """Data that was kept can be taken over again."""
    await ask(admin, "POST", "/v1/volumes", {"Name": "db", "Adopt": True})
    assert engine.adopted == ["db"]
    await ask(admin, "DELETE", "/v1/volumes/db?reference=true")
    assert engine.data_kept == ["db"]
    await ask(admin, "POST", "/v1/volumes", {"Name": "db"})
    await ask(admin, "DELETE", "/v1/volumes/db?reference=false")
    assert engine.data_kept == ["db"]


async def test_info_shows_every_setting_and_its_source(admin: Socket, engine: FakeVolumes) -> None:
    """Convoy's General object, the host's space, the options, and what the backends can do."""
    engine.add("db")
    engine.data_kept = ["old"]
    answer = await ask(admin, "GET", "/v1/info")
    info = Info.model_validate_json(answer.body)
    assert set(info.settings) == set(Settings.model_fields)
    assert info.settings["root"].model_dump() == {"value": "/srv/volumes", "source": "flag"}
    assert info.settings["log_level"].source == "default"
    assert info.general.root == "/srv/volumes"
    assert (info.general.driver_list, info.general.default_driver) == (
        ["directory", "loopback"],
        "directory",
    )
    assert (info.general.volumes, info.general.broken, info.general.kept) == (1, 0, ["old"])
    assert (info.general.pid, info.general.health) == (os.getpid(), "ok")
    assert (info.space.size, info.space.promised, info.space.may_promise) == (100, 30, 90)
    assert {row.key for row in info.options} >= {"size", "backend"}
    assert set(info.drivers) == {"directory", "loopback"}


async def test_health_and_metrics_answer_before_the_records_are_read(
    admin: Socket, engine: FakeVolumes
) -> None:
    """Whoever watches the daemon is not to wait for it."""
    engine.opened.clear()
    assert (await ask(admin, "GET", "/healthz")).json == {"Healthy": True, "Problems": []}
    engine.problems = ["the root is read-only"]
    answer = await ask(admin, "GET", "/healthz")
    assert answer.status == 503
    assert answer.json == {"Healthy": False, "Problems": ["the root is read-only"]}
    answer = await ask(admin, "GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert b"convoy_problems 1.0" in answer.body


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
    ("method", "suffix"),
    [("GET", ""), ("DELETE", ""), ("POST", "/mount"), ("POST", "/umount")],
)
async def test_an_unknown_volume_is_404(
    admin: Socket, engine: FakeVolumes, method: str, suffix: str
) -> None:
    """A person who mistypes a name is told so, by umount too."""
    answer = await ask(admin, method, f"/v1/volumes/nosuch{suffix}")
    assert_failed(answer, 404, Kind.NOT_FOUND, "no such volume: nosuch")


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
        ("DELETE", "/v1/volumes/db?reference=perhaps", b"", "reference"),
        ("DELETE", "/v1/volumes/db?keep=true", b"", "keep"),
        ("DELETE", "/v1/volumes/db?reference=true&reference=false", b"", "twice"),
    ],
)
async def test_what_is_not_understood_is_refused(
    admin: Socket, engine: FakeVolumes, method: str, target: str, body: object, part: str
) -> None:
    """Nothing given is ever ignored silently."""
    engine.add("db")
    answer = await ask(admin, method, target, body)
    assert_failed(answer, 400, Kind.INVALID, part)
    assert set(engine.known) == {"db"}


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


async def test_umount_leaves_a_containers_hold_alone(admin: Socket, engine: FakeVolumes) -> None:
    """An operator who names an ID of Docker's ends nothing."""
    engine.add("db")
    await engine.mount("db", "f00d", "1:2")
    answer = await ask(admin, "POST", "/v1/volumes/db/umount", {"Reference": "f00d"})
    assert answer.status == 204
    assert engine.holds == [("db", "f00d", "1:2")]


async def test_a_volume_tells_where_its_data_lies(admin: Socket, engine: FakeVolumes) -> None:
    """Convoy's Path: the home folder, or the folder that the user chose."""
    engine.add("db")
    engine.known["db"] = engine.known["db"].model_copy(update={"home": "/srv/volumes/db"})
    info = (await ask(admin, "GET", "/v1/volumes/db")).json
    assert info["DriverInfo"]["Path"] == "/srv/volumes/db"
    engine.add("own", spec=Spec(backend="directory", path="/data/own"))
    info = (await ask(admin, "GET", "/v1/volumes/own")).json
    assert info["DriverInfo"]["Path"] == "/data/own"


EVERYTHING = [
    ("GET", "/v1/info"),
    ("POST", "/v1/volumes"),
    ("DELETE", "/v1/volumes/db"),
    ("GET", "/metrics"),
    ("GET", "/healthz"),
    ("GET", "/nosuch"),
    ("PUT", "/v1/volumes"),
]


@pytest.mark.parametrize(("method", "target"), EVERYTHING)
async def test_others_than_root_are_refused(
    admin: Socket,
    engine: FakeVolumes,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    target: str,
) -> None:
    """Whoever reached the socket in spite of its mode still gets nothing out of it."""
    monkeypatch.setattr(access, "peer", lambda sock: Peer(1, 1000, 0))
    engine.add("db")
    assert_failed(await ask(admin, method, target), 403, Kind.DENIED, "uid 1000")
    assert set(engine.known) == {"db"}


@pytest.mark.parametrize(("method", "target"), EVERYTHING)
async def test_requests_of_web_pages_are_refused(
    admin: Socket, engine: FakeVolumes, method: str, target: str
) -> None:
    """A browser that was led to a local proxy sends an Origin, and no tool of ours does."""
    engine.add("db")
    answer = await ask(admin, method, target, headers="Origin: http://example.com\r\n")
    assert_failed(answer, 403, Kind.DENIED, "web pages")
    assert set(engine.known) == {"db"}


async def test_members_of_the_group_are_admitted(
    serving: Serve, engine: FakeVolumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel names the groups of who connected, the supplementary ones too."""
    monkeypatch.setattr(access, "peer", lambda sock: Peer(1, 1000, 1000))
    group = Configuration(Settings(socket_group="staff"), {"socket_group": "flag"})
    admin, _ = await serving(admin_app(engine, Metrics("0"), group, lambda: 0.0))
    monkeypatch.setattr(access, "_groups", lambda sock, caller: {1000, 50})
    assert (await ask(admin, "GET", "/healthz")).status == 200
    monkeypatch.setattr(access, "_groups", lambda sock, caller: {1000})
    assert_failed(await ask(admin, "GET", "/healthz"), 403, Kind.DENIED, "group 50")


async def test_a_group_that_does_not_exist_is_a_bad_setting(engine: FakeVolumes) -> None:
    """The daemon does not start with a group that admits nobody."""
    group = Configuration(Settings(socket_group="nosuchgroup"), {"socket_group": "environment"})
    with pytest.raises(InvalidSetting, match=r"socket_group from environment: .*nosuchgroup"):
        admin_app(engine, Metrics("0"), group, lambda: 0.0)


@pytest.mark.parametrize(
    ("method", "target", "body", "operation", "name", "result"),
    [
        ("POST", "/v1/volumes", {"Name": "new"}, "create", "new", "ok"),
        ("POST", "/v1/volumes", {"Name": "new", "Options": {"x": "1"}}, "create", "new", "invalid"),
        ("DELETE", "/v1/volumes/db", b"", "delete", "db", "ok"),
        ("DELETE", "/v1/volumes/nosuch", b"", "delete", "nosuch", "not-found"),
        ("POST", "/v1/volumes/db/mount", {}, "mount", "db", "ok"),
        ("POST", "/v1/volumes/db/umount", {}, "umount", "db", "ok"),
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
    (record,) = [r for r in caplog.records if r.name.startswith("convoy")]
    fields = vars(record)["convoy_fields"]
    assert (record.name, record.getMessage()) == ("convoy.audit", operation)
    assert (fields["uid"], fields["pid"], fields["result"]) == (0, caller.pid, result)
    assert fields["volume"] == name
    assert counted()[f'api="admin",operation="{operation}",result="{result}"'] == 1


async def test_a_refused_change_is_in_the_audit_log(
    admin: Socket, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attempts count as well."""
    monkeypatch.setattr(access, "peer", lambda sock: Peer(1, 1000, 0))
    await ask(admin, "DELETE", "/v1/volumes/db")
    (record,) = [r for r in caplog.records if r.name == "convoy.audit"]
    assert record.levelname == "WARNING"
    fields = vars(record)["convoy_fields"]
    assert "uid 1000" in fields["error"]
    assert (fields["uid"], fields["pid"], fields["result"]) == (1000, 1, "denied")


async def test_a_long_list_lets_docker_in(
    engine: FakeVolumes, metrics: Metrics, configuration: Configuration
) -> None:
    """The list is made in batches, between which the loop serves others."""
    for number in range(1000):
        engine.add(f"volume-{number}")
    handlers = Admin(engine, metrics, configuration, lambda: NOW)
    waiting = asyncio.create_task(handlers.list(Call("", Nothing())))
    turns = 0
    while not waiting.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns >= 5
    assert isinstance(told := (await waiting).body, VolumeList)
    assert set(told.volumes) == set(engine.known)
