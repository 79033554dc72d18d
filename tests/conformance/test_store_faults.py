"""What a network does to a store: tried again within bounds, and never a false success."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import pytest

from convoy_py.restic.errors import AlreadyThere, NotFound, RepositoryError, StoreFailed
from convoy_py.restic.stores import bounds
from convoy_py.restic.stores.base import Kind, Store
from convoy_py.restic.stores.opening import open_store
from convoy_py.restic.stores.retries import Patience
from convoy_py.restic.stores.urls import Location, parse
from tests import fault_proxy
from tests.conformance.servers import BUCKET, PASSWORD, S3_CREDENTIALS, SECRET
from tests.fault_proxy import FaultProxy

NAME, OTHER = "ab" * 32, "cd" * 32
PACK = bytes(range(256)) * 1000
RETRIES = 2
QUICK = Patience(
    connect=5, stall=1, request=2, retries=RETRIES, retrying=5, backoff=0.01, longest_backoff=0.02
)


@dataclass
class Bed:
    store: Store  # by way of the proxy
    direct: Store
    proxy: FaultProxy
    place: Location  # of the proxy


@pytest.fixture(scope="module", params=["s3", "rest"])
def wired(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bed]:
    name = tmp_path_factory.mktemp("faults").name
    if request.param == "s3":
        server: str = request.getfixturevalue("s3")
        spelled = f"s3:{server}/{BUCKET}/{name}"
    else:
        server, _ = request.getfixturevalue("rest")
        spelled = f"rest:{server}{name}/"
    port = f"127.0.0.1:{urlsplit(server).port}"
    with fault_proxy.before(server) as (proxy, address):
        place = parse(spelled.replace(port, address.removeprefix("http://")))
        with (
            closing(open_store(parse(spelled), S3_CREDENTIALS)) as direct,
            closing(open_store(place, S3_CREDENTIALS, patience=QUICK)) as store,
        ):
            direct.prepare()
            yield Bed(store, direct, proxy, place)


@pytest.fixture
def bed(wired: Bed) -> Bed:
    """A repository that has one pack, and nothing that spoils what is asked of it."""
    wired.proxy.reset()
    wired.direct.write(Kind.PACK, NAME, [PACK])
    wired.direct.delete(Kind.PACK, OTHER)
    wired.direct.delete(Kind.CONFIG, "")
    return wired


def _there(store: Store, kind: Kind, name: str) -> bytes:
    try:
        return store.read(kind, name)
    except NotFound:
        return b""


CALLS: dict[str, Callable[[Store], object]] = {
    "read": lambda store: store.read(Kind.PACK, NAME),
    "range": lambda store: store.read_range(Kind.PACK, NAME, 1000, 5000),
    "list": lambda store: list(store.list(Kind.PACK)),
    "write": lambda store: store.write(Kind.PACK, OTHER, [PACK[:9], PACK[9:]]),
    "create": lambda store: store.write(Kind.CONFIG, "", [b"config"], create=True),
    "delete": lambda store: store.delete(Kind.PACK, NAME),
}
GIVEN = {"read": PACK, "range": PACK[1000:6000], "list": [(NAME, len(PACK))]}
EFFECTS: dict[str, Callable[[Store], bool]] = {
    "write": lambda store: _there(store, Kind.PACK, OTHER) == PACK,
    "create": lambda store: _there(store, Kind.CONFIG, "") == b"config",
    "delete": lambda store: not _there(store, Kind.PACK, NAME),
}
PASSING = ["500", "503", "too many", "reset", "lost", "truncated", "twice"]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_not_seen(bed: Bed, call: str, fault: str) -> None:
    bed.proxy.faults.append(fault)
    assert CALLS[call](bed.store) == GIVEN.get(call)
    assert call in GIVEN or EFFECTS[call](bed.direct)
    assert not bed.proxy.faults


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", ["500", "503", "full", "reset", "truncated", "expired"])
def test_what_lasts_is_an_error_soon(bed: Bed, call: str, fault: str) -> None:
    bed.proxy.faults.append(fault)
    bed.proxy.always = True
    with pytest.raises(StoreFailed) as caught:
        CALLS[call](bed.store)
    # A client of HTTP asks once more by itself where a connection that it kept has ended.
    assert bed.proxy.asked <= (1 if fault == "expired" else 2 * (RETRIES + 1))
    _check_told(caught.value)


@pytest.mark.parametrize("call", ["write", "create"])
def test_what_writes_follows_to_no_other_place(bed: Bed, call: str) -> None:
    """A client of HTTP would read there, and that would look like success."""
    bed.proxy.faults.append("moved")
    bed.proxy.always = True
    with pytest.raises(StoreFailed):
        CALLS[call](bed.store)
    assert bed.proxy.asked <= RETRIES + 1


@pytest.mark.parametrize("call", ["read", "write"])
def test_one_answer_that_never_comes_is_not_seen(bed: Bed, call: str) -> None:
    bed.proxy.faults.append("stalled")
    assert CALLS[call](bed.store) == GIVEN.get(call)
    assert call in GIVEN or EFFECTS[call](bed.direct)


@pytest.mark.parametrize("call", CALLS)
def test_a_storage_that_never_answers_is_given_up(bed: Bed, call: str) -> None:
    _check_given_up(bed, call, replace(QUICK, stall=0.1, request=0.1))


@pytest.mark.parametrize("call", ["read", "range", "list"])
def test_a_stall_is_seen_long_before_a_request_is_late(bed: Bed, call: str) -> None:
    _check_given_up(bed, call, replace(QUICK, stall=0.1, request=3600))


def _check_given_up(bed: Bed, call: str, patience: Patience) -> None:
    bed.proxy.faults.append("stalled")
    bed.proxy.always = True
    with (
        closing(open_store(bed.place, S3_CREDENTIALS, patience=patience)) as store,
        pytest.raises(StoreFailed) as caught,
    ):
        CALLS[call](store)
    assert bed.proxy.asked == RETRIES + 1
    _check_told(caught.value)


@pytest.mark.parametrize(
    ("server", "reason"),
    [("127.0.0.1:1", "Connection refused"), ("nobody.invalid", "not known|name resolution")],
)
def test_a_storage_that_is_down_is_an_error_soon(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, server: str, reason: str
) -> None:
    """With the reason; it may be about to start, but nobody waits for it for long."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    scheme, path = ("s3", BUCKET) if "s3" in bed.store.location else ("rest", "path/")
    with (
        closing(open_store(parse(f"{scheme}:http://{server}/{path}"), S3_CREDENTIALS)) as store,
        pytest.raises(StoreFailed, match=reason),
    ):
        store.read(Kind.PACK, NAME)
    assert 0 < sum(waited) < 10


def _check_told(error: Exception) -> None:
    told = str(error)
    assert "\n" not in told
    assert len(told) < 350
    assert SECRET not in told
    assert PASSWORD not in told
    assert error.__suppress_context__ or error.__context__ is None


@pytest.mark.parametrize("call", ["range", "list"])
def test_half_an_answer_is_none(bed: Bed, call: str) -> None:
    """Of a whole file it is for who reads it to see, by its hash."""
    bed.proxy.faults.append("short")
    with suppress(StoreFailed):
        assert CALLS[call](bed.store) == GIVEN[call]


@pytest.mark.parametrize("call", ["read", "range"])
@pytest.mark.parametrize("fault", ["huge", "endless"])
def test_an_answer_without_an_end_is_not_taken(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, call: str, fault: str
) -> None:
    """Whether it tells its length or not; what is on its way is in the buffers of the machine."""
    monkeypatch.setitem(bounds.LARGEST, Kind.PACK, 1 << 20)
    bed.proxy.faults.append(fault)
    bed.proxy.always = True
    with pytest.raises(RepositoryError) as caught:
        CALLS[call](bed.store)
    _check_told(caught.value)
    assert bed.proxy.sent < (64 << 20) * (RETRIES + 1)


def test_a_listing_without_an_end_is_not_taken(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor kept, of what speaks REST; of what speaks S3 a page is what the library takes."""
    if "s3" in bed.store.location:
        return
    monkeypatch.setitem(bounds.MOST, Kind.PACK, 10_000)
    bed.proxy.faults.append("endless list")
    bed.proxy.always = True
    with pytest.raises(StoreFailed, match="lists more than 10000 data"):
        list(bed.store.list(Kind.PACK))


def test_answers_that_come_twice_are_not_taken_for_others(bed: Bed) -> None:
    names = [f"{number:02x}" * 32 for number in range(30)]
    bed.proxy.faults.append("twice")
    bed.proxy.always = True
    for name in names:
        bed.store.write(Kind.INDEX, name, [name.encode()])
    assert [bed.store.read(Kind.INDEX, name) for name in names] == [n.encode() for n in names]
    assert [bed.direct.read(Kind.INDEX, name) for name in names] == [n.encode() for n in names]


def test_a_config_of_which_the_answer_was_lost_is_ours(bed: Bed) -> None:
    bed.direct.write(Kind.CONFIG, "", [b"config"])
    bed.store.write(Kind.CONFIG, "", [b"config"], create=True)
    with pytest.raises(AlreadyThere):
        bed.store.write(Kind.CONFIG, "", [b"another"], create=True)


def test_nothing_secret_is_shown(bed: Bed) -> None:
    for shown in (repr(bed.store), str(bed.store), bed.store.location):
        assert SECRET not in shown
        assert "canary" not in shown
        assert "backup" not in shown


def test_a_wrong_password_is_told(bed: Bed) -> None:
    wrong = {**S3_CREDENTIALS, "AWS_SECRET_ACCESS_KEY": "canary-wrong"}
    location = parse(bed.direct.location)
    with closing(open_store(location, wrong, patience=QUICK)) as store:
        for call in CALLS.values():
            with pytest.raises(RepositoryError, match=r"401|403"):
                call(store)
