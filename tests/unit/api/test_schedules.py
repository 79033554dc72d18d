"""The admin API's routes about schedules: what they ask the verbs, what they answer."""

import pytest

from convoy_py.errors import Kind
from tests.fakes import FakeVerbs, FakeVolumes
from tests.unit.api.rest import ask, assert_failed
from tests.unit.api.wire import Socket

DAILY = {"Snapshot": "@Daily", "Backup": " 30 2 * * *", "To": "offsite", "Keep": "24h, 7d"}


async def test_a_schedule_is_set_and_shown(admin: Socket, engine: FakeVolumes) -> None:
    """What is not given stays, and what is empty is taken away."""
    engine.add("db")
    answer = await ask(admin, "POST", "/v1/schedules/db", DAILY)
    assert answer.status == 200
    assert answer.json["Volume"] == "db"
    assert answer.json["Snapshot"]["Expression"] == "@daily"
    assert answer.json["Backup"]["Expression"] == "30 2 * * *"
    assert (answer.json["To"], answer.json["Keep"]) == ("offsite", "24h,7d")
    answer = await ask(admin, "POST", "/v1/schedules/db", {"Backup": ""})
    assert answer.json["Backup"] is None
    assert answer.json["Snapshot"]["Next"] == "2026-01-03T03:04:05Z"
    assert (await ask(admin, "GET", "/v1/schedules/db")).json == answer.json
    assert (await ask(admin, "GET", "/v1/schedules")).json == {"Schedules": [answer.json]}
    assert (await ask(admin, "DELETE", "/v1/schedules/db")).status == 204
    answer = await ask(admin, "GET", "/v1/schedules/db")
    assert_failed(answer, 404, Kind.NOT_FOUND, "volume db has no schedule")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"Snapshot": "61 * * * *"}, "schedule.snapshot: '61 * * * *' is no cron expression"),
        ({"Backup": "@reboot"}, "'@reboot' is not one of @hourly, @daily"),
        ({"Snapsot": "@daily"}, "Snapsot"),
    ],
)
async def test_what_is_no_schedule_is_refused(
    admin: Socket, engine: FakeVolumes, asked: dict[str, str], told: str
) -> None:
    engine.add("db")
    answer = await ask(admin, "POST", "/v1/schedules/db", asked)
    assert_failed(answer, 400, Kind.INVALID, told)


async def test_metrics_tell_how_schedules_went(
    admin: Socket, engine: FakeVolumes, verbs: FakeVerbs
) -> None:
    """By volume, task and repository; of one that never was good there is no age."""
    engine.add("db")
    await ask(admin, "POST", "/v1/schedules/db", DAILY)
    labels = '{repository="offsite",task="backup",volume="db"}'
    text = (await ask(admin, "GET", "/metrics")).body.decode()
    assert f"convoy_schedule_good_age_seconds{labels} 7.0" in text
    assert f"convoy_schedule_seconds{labels} 1.5" in text
    assert f"convoy_schedule_size_bytes{labels} 1000.0" in text
    assert f"convoy_schedule_added_bytes{labels} 10.0" in text
    assert f"convoy_schedule_failures{labels} 0.0" in text
    assert f"convoy_schedule_next_timestamp_seconds{labels} 1.767409445e+09" in text
    verbs.schedules.error = "no route to host"
    text = (await ask(admin, "GET", "/metrics")).body.decode()
    assert f"convoy_schedule_failures{labels} 1.0" in text
    assert f"convoy_schedule_good_age_seconds{labels}" not in text
    await ask(admin, "DELETE", "/v1/schedules/db")
    assert "convoy_schedule_seconds{" not in (await ask(admin, "GET", "/metrics")).body.decode()
