"""Who is admitted to the admin API, and what is recorded of those who are not."""

import pytest

from convoy_py.api import access
from convoy_py.api.app import admin_app
from convoy_py.config import Configuration
from convoy_py.errors import InvalidSetting, Kind
from convoy_py.linux.outside import Outside
from convoy_py.linux.peers import Peer
from convoy_py.metrics import Metrics
from convoy_py.settings import Settings
from tests.fakes import FakeVerbs, FakeVolumes
from tests.unit.api.conftest import Serve
from tests.unit.api.rest import ask, assert_failed
from tests.unit.api.wire import Socket

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
    serving: Serve, verbs: FakeVerbs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel names the groups of who connected, the supplementary ones too."""
    monkeypatch.setattr(access, "peer", lambda sock: Peer(1, 1000, 1000))
    group = Configuration(Settings(socket_group="staff"), {"socket_group": "flag"})
    admin, _ = await serving(admin_app(verbs, Metrics("0"), group, lambda: 0.0, Outside()))
    monkeypatch.setattr(access, "_groups", lambda sock, caller: {1000, 50})
    assert (await ask(admin, "GET", "/healthz")).status == 200
    monkeypatch.setattr(access, "_groups", lambda sock, caller: {1000})
    assert_failed(await ask(admin, "GET", "/healthz"), 403, Kind.DENIED, "group 50")


async def test_a_group_that_does_not_exist_is_a_bad_setting(verbs: FakeVerbs) -> None:
    """The daemon does not start with a group that admits nobody."""
    group = Configuration(Settings(socket_group="nosuchgroup"), {"socket_group": "environment"})
    with pytest.raises(InvalidSetting, match=r"socket_group from environment: .*nosuchgroup"):
        admin_app(verbs, Metrics("0"), group, lambda: 0.0, Outside())


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
