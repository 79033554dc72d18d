"""Who may prune a repository: the host that made it."""

from datetime import UTC, datetime, timedelta, timezone

from convoy_py.restic import keyfiles
from convoy_py.restic.repository import Repository
from convoy_py.session.upkeep import maker_of
from tests.fakes_restic import QUICK, MemoryStore


def test_who_made_a_repository_is_told_whatever_the_zones_of_its_keys() -> None:
    """restic writes the time as its host has it: the text of an older one may be the larger."""
    store, made = MemoryStore(), datetime(2026, 1, 1, 22, tzinfo=UTC)
    repository = Repository.create(
        store, "secret", made.astimezone(timezone(timedelta(hours=9))), QUICK
    )
    maker = maker_of(repository)
    later = made + timedelta(hours=1)
    keyfiles.add(store, repository.master_key, "other", later, QUICK, host="newcomer")
    assert maker
    assert maker_of(repository) == maker
