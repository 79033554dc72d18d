"""The admin API's routes about repositories and backups."""

from datetime import UTC, datetime
from typing import Any

import pytest

from convoy_py.errors import Conflict, Kind, Unavailable
from convoy_py.models.backup import RepositoryView
from convoy_py.models.hooks import Hooks
from convoy_py.models.volume import Options
from convoy_py.state.records import Proof
from convoy_py.wire.backups import BackupInfo
from convoy_py.wire.repositories import RepositoryInfo
from convoy_py.wire.volumes import VolumeInfo
from tests.fakes import FakeVerbs, FakeVolumes
from tests.unit.api.rest import ask, assert_failed
from tests.unit.api.wire import Socket

OFFSITE = {"Name": "offsite", "Location": "/srv/backups", "PasswordFile": "/etc/pw"}
INFO = RepositoryInfo(
    name="offsite",
    location="/srv/backups",
    id="0123456789abcdef" * 4,
    created="2026-01-02T03:04:05Z",
    password_file="/etc/pw",
)
ID = "fedcba9876543210" * 4
URL = f"/srv/backups?backup=backup-{ID[:16]}&volume=db"
BACKUP = BackupInfo(
    url=URL,
    name=f"backup-{ID[:16]}",
    id=ID,
    repository="offsite",
    volume="db",
    host="here",
    created="2026-01-02T03:04:05Z",
    snapshot_created="2026-01-02T03:04:05Z",
    size=1000,
    added=10,
    files=3,
)


async def test_a_repository_is_added_shown_and_forgotten(admin: Socket, verbs: FakeVerbs) -> None:
    """What the command found in the files goes to the verb, and into no answer."""
    secrets = {"Password": "canary", "CredentialsFile": "/etc/keys", "Credentials": "KEY=canary"}
    answer = await ask(admin, "POST", "/v1/repositories", OFFSITE | secrets)
    assert (answer.status, answer.json["Verb"]) == (200, "repository-add")
    assert answer.json["Volume"] == "offsite"
    told = INFO.model_copy(update={"credentials_file": "/etc/keys"})
    assert RepositoryInfo.model_validate(answer.json["Result"]) == told
    assert verbs.repositories.secrets == ["canary", "KEY=canary"]
    assert "canary" not in answer.body.decode()
    answer = await ask(admin, "GET", "/v1/repositories")
    assert answer.json == {"Repositories": [told.model_dump(by_alias=True)]}
    answer = await ask(admin, "GET", "/v1/repositories/offsite")
    assert answer.json == told.model_dump(by_alias=True)
    assert (await ask(admin, "DELETE", "/v1/repositories/offsite")).status == 204
    assert verbs.repositories.known == {}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_unknown_repository_is_called_one(admin: Socket, method: str) -> None:
    """It is no volume, whatever else bears its name."""
    answer = await ask(admin, method, "/v1/repositories/nosuch")
    assert_failed(answer, 404, Kind.NOT_FOUND, "no such repository: nosuch")
    assert "volume" not in answer.json["Error"]
    answer = await ask(admin, method, "/v1/repositories/a@b")
    assert_failed(answer, 400, Kind.INVALID, "invalid repository name 'a@b'")


async def test_a_failure_of_a_repository_names_it(admin: Socket, verbs: FakeVerbs) -> None:
    verbs.backups.failure = Unavailable("it does not answer")
    answer = await ask(admin, "POST", "/v1/backups/verify", {"Repository": "offsite"})
    assert_failed(answer, 503, Kind.UNAVAILABLE)
    assert answer.json["Error"] == "repository offsite: it does not answer"


@pytest.mark.parametrize(
    ("asked", "sources", "subject"),
    [
        ({"Sources": ["db", "logs@noon"], "Repository": "offsite"}, ["db", "logs@noon"], "db,"),
        ({"All": True, "Pause": True, "Raw": True}, [], ""),
        (
            {"ComposeProject": "shop", "Before": ["db: sync"], "After": ["db: go"], "Stop": True},
            [],
            "shop",
        ),
    ],
)
async def test_volumes_are_backed_up(
    admin: Socket, verbs: FakeVerbs, asked: dict[str, Any], sources: list[str], subject: str
) -> None:
    """Those that are named, all, or a project's."""
    answer = await ask(admin, "POST", "/v1/backups", asked)
    assert verbs.backups.asked == [
        (
            sources,
            asked.get("Repository", ""),
            "All" in asked,
            asked.get("ComposeProject", ""),
            "Raw" in asked,
            Hooks.asked(
                asked.get("Before", []),
                asked.get("After", []),
                pause="Pause" in asked,
                stop="Stop" in asked,
            ),
        )
    ]
    assert answer.json["Volume"].startswith(subject)
    assert answer.json["Result"] == {"Backups": [BACKUP.model_dump(by_alias=True)]}


@pytest.mark.parametrize("asked", [{}, {"Sources": ["db"], "All": True}])
async def test_what_to_back_up_is_said_once(admin: Socket, asked: dict[str, Any]) -> None:
    answer = await ask(admin, "POST", "/v1/backups", asked)
    assert_failed(answer, 400, Kind.INVALID, "one of Sources, All and ComposeProject")


async def test_what_fails_names_what_was_to_be_backed_up(admin: Socket, verbs: FakeVerbs) -> None:
    verbs.backups.failure = Conflict("it was replaced meanwhile")
    answer = await ask(admin, "POST", "/v1/backups", {"Sources": ["db"]})
    assert_failed(answer, 409, Kind.CONFLICT, "volume db: it was replaced meanwhile")


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("", ("", "", False)),
        ("?volume=db&repository=offsite&described=true", ("db", "offsite", True)),
    ],
)
async def test_backups_are_listed(
    admin: Socket, verbs: FakeVerbs, query: str, asked: tuple[str, str]
) -> None:
    """With Convoy's keys, where it had them."""
    answer = await ask(admin, "GET", f"/v1/backups{query}")
    assert verbs.backups.asked == [asked]
    (told,) = answer.json["Result"]["Backups"]
    assert told == BACKUP.model_dump(by_alias=True)
    assert {"BackupName", "BackupURL", "VolumeName", "CreatedTime"} <= set(told)


@pytest.mark.parametrize("reference", [ID, ID[:8], URL.replace("?", "%3F").replace("&", "%26")])
async def test_one_backup_is_shown(admin: Socket, reference: str) -> None:
    """By its id, the start of it, or its URL."""
    answer = await ask(admin, "GET", f"/v1/backups/inspect?backup={reference}")
    assert answer.json["Result"] == BACKUP.model_dump(by_alias=True)


async def test_backups_are_protected(admin: Socket) -> None:
    """And no more."""
    for on in (True, False):
        asked = {"Backups": [URL], "On": on}
        answer = await ask(admin, "POST", "/v1/backups/protect", asked)
        (backup,) = answer.json["Result"]["Backups"]
        assert backup["Protected"] is on
    answer = await ask(admin, "POST", "/v1/backups/protect", {"Backups": []})
    assert_failed(answer, 400, Kind.INVALID, "Backups")


async def test_backups_are_deleted(admin: Socket) -> None:
    """What is gone is told; one that is not there is an error."""
    answer = await ask(admin, "POST", "/v1/backups/delete", {"Backups": [URL]})
    assert answer.json["Result"] == {"Backups": [BACKUP.model_dump(by_alias=True)]}
    answer = await ask(admin, "POST", "/v1/backups/delete", {"Backups": ["0000"]})
    assert_failed(answer, 404, Kind.NOT_FOUND, "no backup 0000")
    answer = await ask(admin, "POST", "/v1/backups/delete", {"Backups": []})
    assert_failed(answer, 400, Kind.INVALID, "Backups")


async def test_backups_are_forgotten(admin: Socket, verbs: FakeVerbs) -> None:
    """By a policy, which has to be given."""
    verbs.backups.problems = ["web: a clock"]
    asked = {"Volume": "db", "Keep": "7d", "DryRun": True}
    answer = await ask(admin, "POST", "/v1/backups/forget", asked)
    told = {"Backups": [BACKUP.model_dump(by_alias=True)], "Problems": ["web: a clock"]}
    assert answer.json["Result"] == {**told, "DryRun": True}
    assert verbs.backups.asked == [("db", "", "7d", True)]
    answer = await ask(admin, "POST", "/v1/backups/forget", {})
    assert_failed(answer, 400, Kind.INVALID, "Keep")


async def test_the_keys_of_a_repository(admin: Socket, verbs: FakeVerbs) -> None:
    """Shown, added by a password that no answer has, removed."""
    verbs.repositories.known["offsite"] = RepositoryView.model_validate(INFO.model_dump())
    answer = await ask(admin, "GET", "/v1/repositories/offsite/keys")
    (key,) = answer.json["Result"]["Keys"]
    assert (answer.json["Verb"], answer.json["Volume"]) == ("key-list", "offsite")
    assert (key["Id"], key["Host"], key["InUse"]) == ("cd" * 32, "here", True)
    answer = await ask(admin, "POST", "/v1/repositories/offsite/keys", {"Password": "canary"})
    assert answer.json["Result"] == key
    assert verbs.repositories.secrets == ["canary"]
    assert "canary" not in answer.body.decode()
    answer = await ask(admin, "POST", "/v1/repositories/offsite/keys/remove", {"Key": "cdcd"})
    assert answer.json["Result"] == key
    answer = await ask(admin, "POST", "/v1/repositories/offsite/keys/remove", {"Key": "00"})
    assert_failed(answer, 404, Kind.NOT_FOUND, "no key 00")


async def test_a_repository_is_unlocked(admin: Socket) -> None:
    """What is gone, and what stays, is told with who has it."""
    lock = {"Id": "ab" * 32, "Exclusive": True, "Told": "exclusively by root@there"}
    answer = await ask(admin, "POST", "/v1/repositories/offsite/unlock", {})
    assert answer.json["Result"] == {"Unlocked": [], "Locked": [lock]}
    answer = await ask(admin, "POST", "/v1/repositories/offsite/unlock", {"All": True})
    assert answer.json["Result"] == {"Unlocked": [lock], "Locked": []}


async def test_a_repository_is_pruned(admin: Socket, verbs: FakeVerbs) -> None:
    """Or it is told what would be done."""
    asked = {"Repository": "offsite", "DryRun": True}
    answer = await ask(admin, "POST", "/v1/backups/prune", asked)
    assert verbs.backups.asked == [("offsite", True)]
    assert (answer.json["Verb"], answer.json["Volume"]) == ("backup-prune", "offsite")
    told = answer.json["Result"]
    assert (told["Repacked"], told["FreedBytes"], told["DryRun"]) == (2, 2048, True)


async def test_backups_are_proven(admin: Socket, verbs: FakeVerbs) -> None:
    """What is not so is the answer, not an error."""
    verbs.backups.problems = ["db: gone"]
    asked: dict[str, Any] = {"Backups": [URL], "Repository": "offsite"}
    answer = await ask(admin, "POST", "/v1/backups/prove", asked)
    assert verbs.backups.asked == [([URL], "offsite")]
    proven = BACKUP.model_copy(update={"proven": "2026-01-02T03:04:05Z"})
    told = {"Backups": [proven.model_dump(by_alias=True)], "Problems": ["db: gone"]}
    assert answer.json["Result"] == told
    await ask(admin, "POST", "/v1/backups/prove", {"All": True})
    assert verbs.backups.asked[1:] == [([], "")]
    for wrong in ({}, asked | {"All": True}):
        answer = await ask(admin, "POST", "/v1/backups/prove", wrong)
        assert_failed(answer, 400, Kind.INVALID, "either Backups or All")


async def test_the_metrics_tell_when_a_volume_was_proven(admin: Socket, verbs: FakeVerbs) -> None:
    """Of several of its backups the last."""
    for day in (2, 1):
        proof = Proof(volume="db", proven=datetime(2026, 1, day, tzinfo=UTC))
        verbs.repositories.proven.append(("offsite", proof))
    answer = await ask(admin, "GET", "/metrics")
    line = 'convoy_backup_proven_timestamp_seconds{repository="offsite",volume="db"} 1.7673120e+09'
    assert line.replace("20e", "2e") in answer.body.decode()


async def test_a_repository_is_verified(admin: Socket, verbs: FakeVerbs) -> None:
    """What is found wrong is the answer, not an error."""
    verbs.backups.problems = ["pack 01: gone"]
    asked = {"Repository": "offsite", "ReadData": 10}
    answer = await ask(admin, "POST", "/v1/backups/verify", asked)
    assert verbs.backups.asked == [("offsite", 10)]
    assert answer.json["Result"] == {"Problems": ["pack 01: gone"]}
    answer = await ask(admin, "POST", "/v1/backups/verify", asked | {"ReadData": 101})
    assert_failed(answer, 400, Kind.INVALID, "ReadData")


@pytest.mark.parametrize(
    ("asked", "name", "subject"),
    [
        ({"Backup": URL}, "db", "db"),
        ({"Backup": "db", "Name": "other"}, "other", "other"),
        ({"Backup": "db", "At": ID[:8]}, "db", "db"),
        ({"Backup": ID[:8], "Options": {"size": "2G"}}, "db", ID[:8]),
    ],
)
async def test_a_backup_is_restored(
    admin: Socket,
    engine: FakeVolumes,
    verbs: FakeVerbs,
    asked: dict[str, Any],
    name: str,
    subject: str,
) -> None:
    """As a new volume, which is the answer."""
    answer = await ask(admin, "POST", "/v1/backups/restore", asked)
    options = Options(size=2 * 2**30) if "Options" in asked else Options()
    meant = asked["Backup"], "", asked.get("Name", ""), options, asked.get("At")
    assert verbs.restores.asked == [meant]
    assert (answer.json["Verb"], answer.json["Volume"]) == ("restore", subject)
    assert VolumeInfo.model_validate(answer.json["Result"]).name == name
    assert name in engine.known
