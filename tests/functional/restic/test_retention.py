"""What our policy does not keep is what restic would forget."""

import random
from datetime import UTC, datetime, timedelta, timezone

from convoy_py.restic.packs import BlobKind
from convoy_py.restic.repository import Repository
from convoy_py.restic.retention import Policy, surplus
from convoy_py.restic.snapshots import Snapshot
from convoy_py.restic.stores.local import LocalStore
from convoy_py.restic.writer import Writer
from tests.fakes_restic import new_repository
from tests.restic import Restic

_FLAGS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
_POLICIES = ("1", "3last,2h", "24h,7d,4w,12m", "5d", "2w,3m,2y", "100h", "7d,400y")
# The last one asks for more than there is: the oldest stays for that in newer restics.
_BEGIN, _NOW = datetime(2022, 12, 20, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)


def test_a_policy_is_that_of_restic(restic: Restic, store: LocalStore) -> None:
    """Of moments by chance in two years, in several zones: dense at first, and then sparse."""
    chance = random.Random(7)
    repository = new_repository(store, restic.password)
    _commit(repository, [_moment(chance) for _ in range(120)])
    snapshots = repository.snapshots()
    for text in _POLICIES if restic.is_newest else _POLICIES[:-1]:
        policy = Policy.parse(text)
        flags = [
            f"--keep-{name}={count}" for name in _FLAGS if (count := getattr(policy, name)) > 0
        ]
        (group,) = restic.json("forget", "--dry-run", "--group-by", "host,paths", *flags)
        theirs = {each["id"] for each in group["remove"] or ()}
        ours = {each.id for each in surplus(snapshots, policy, _NOW)}
        assert ours == theirs, text


def _moment(chance: random.Random) -> datetime:
    spread = chance.choice([timedelta(days=3), timedelta(days=40), timedelta(days=700)])
    zone = timezone(timedelta(hours=chance.choice([-5, 0, 1, 9])))
    return (_BEGIN + chance.random() * spread).astimezone(zone)


def _commit(repository: Repository, times: list[datetime]) -> None:
    with Writer(repository) as writer:
        tree = writer.save(BlobKind.TREE, b'{"nodes":[]}\n')
        for time in times:
            writer.commit(Snapshot(time=time, tree=tree, paths=("/convoy/db",), hostname="here"))
