"""The admin API's routes about the trash."""

import logging

import pytest

from convoy_py.errors import Kind
from convoy_py.models.trash import RemovedView
from convoy_py.wire.trash import Removed, TrashList
from tests.fakes import CREATED, FakeVerbs, FakeVolumes
from tests.unit.api.rest import ask, assert_failed
from tests.unit.api.wire import Socket


@pytest.fixture
def filled(verbs: FakeVerbs) -> None:
    verbs.trash.removed = [
        RemovedView(
            name="db",
            key="db.1",
            backend="loopback",
            removed=CREATED,
            until=CREATED.replace(day=3),
            snapshots=("nightly",),
        ),
        RemovedView(name="old", key="old.2", backend="", removed=None, until=None),
    ]


@pytest.mark.usefixtures("filled")
async def test_the_trash_is_listed(admin: Socket) -> None:
    """With the time until which each volume is kept, where that is known."""
    answer = await ask(admin, "GET", "/v1/trash")
    assert TrashList.model_validate_json(answer.body).volumes == [
        Removed(
            name="db",
            key="db.1",
            driver="loopback",
            removed="2026-01-02T03:04:05Z",
            until="2026-01-03T03:04:05Z",
            snapshots=["nightly"],
        ),
        Removed(name="old", key="old.2", driver="", removed="", until="", snapshots=[]),
    ]


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"Name": "db"}, "db"),
        ({"Name": "db.1"}, "db"),
        ({"Name": "db.1", "AsName": "other"}, "other"),
    ],
)
@pytest.mark.usefixtures("filled")
async def test_a_volume_is_given_back(
    admin: Socket,
    engine: FakeVolumes,
    caplog: pytest.LogCaptureFixture,
    asked: dict[str, str],
    name: str,
) -> None:
    """By its name or its key; the audit log has the name that it has now."""
    caplog.set_level(logging.INFO, "convoy.audit")
    answer = await ask(admin, "POST", "/v1/trash/restore", asked)
    assert (answer.status, answer.json["Name"]) == (200, name)
    assert set(engine.known) == {name}
    (record,) = caplog.records
    assert vars(record)["convoy_fields"]["volume"] == name


async def test_what_is_not_in_the_trash_is_404(admin: Socket) -> None:
    """The failure is the engine's."""
    answer = await ask(admin, "POST", "/v1/trash/restore", {"Name": "nosuch"})
    assert_failed(answer, 404, Kind.NOT_FOUND, "no nosuch in the trash")


@pytest.mark.parametrize(
    ("asked", "keys"),
    [
        ({"Name": "db"}, ["db.1"]),
        ({"Name": "old.2"}, ["old.2"]),
        ({"All": True}, ["db.1", "old.2"]),
    ],
)
@pytest.mark.usefixtures("filled")
async def test_the_trash_is_purged(
    admin: Socket, asked: dict[str, object], keys: list[str]
) -> None:
    """One volume, or all."""
    answer = await ask(admin, "POST", "/v1/trash/purge", asked)
    assert (answer.status, answer.json) == (200, {"Keys": keys})


@pytest.mark.parametrize("asked", [{}, {"Name": ""}, {"Name": "db", "All": True}])
@pytest.mark.usefixtures("filled")
async def test_nothing_is_purged_by_an_unclear_request(
    admin: Socket, verbs: FakeVerbs, asked: dict[str, object]
) -> None:
    """All is deleted only where that was written down, not for an unset variable."""
    answer = await ask(admin, "POST", "/v1/trash/purge", asked)
    assert_failed(answer, 400, Kind.INVALID, "name a volume of the trash, or say All")
    assert len(verbs.trash.removed) == 2
