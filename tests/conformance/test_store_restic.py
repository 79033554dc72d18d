"""One suite over every kind of store: what the repository format relies on."""

import json
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from obstore.store import GCSStore

from convoy_py.restic.errors import AlreadyThere, Damaged, NotFound, StoreFailed
from convoy_py.restic.stores import bounds, clients
from convoy_py.restic.stores.base import Kind, Store, path_of
from convoy_py.restic.stores.local import LocalStore
from convoy_py.restic.stores.opening import open_store
from convoy_py.restic.stores.urls import parse
from convoy_py.session.opened import check_deletes
from tests.conformance.servers import BUCKET, S3_CREDENTIALS, bucket_at
from tests.fakes_restic import MemoryStore, new_repository
from tests.pruning import assert_whole, indexed, pruned, with_garbage
from tests.restic import Restic

NAMES = [f"{number:02x}" * 32 for number in range(40)]
FILES = [(kind, NAMES[0]) for kind in Kind if kind is not Kind.CONFIG] + [(Kind.CONFIG, "")]


@dataclass
class Case:
    store: Store
    plant: Callable[[str, bytes], object]  # puts bytes at a path, by another way than the store


def _memory(folder: Path) -> Case:
    store = MemoryStore()

    def plant(path: str, data: bytes) -> None:
        folder, *_, name = path.split("/")
        store.files[Kind(folder), name] = data

    return Case(store, plant)


def _local(folder: Path) -> Case:
    def plant(path: str, data: bytes) -> None:
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(data)

    return Case(LocalStore(folder), plant)


def _s3(address: str, name: str) -> Case:
    location = parse(f"s3:{address}/{BUCKET}/deep/{name}")
    bucket = bucket_at(address)
    return Case(
        open_store(location, S3_CREDENTIALS),
        lambda path, data: bucket.put(f"{location.path}/{path}", data),
    )


def _google(address: str, name: str, monkeypatch: pytest.MonkeyPatch) -> Case:
    """By the client of Google, whose XML is that of S3, from a SeaweedFS."""

    key = {"gcs_base_url": address, "disable_oauth": True}
    key |= dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
    config: Any = {"service_account_key": json.dumps(key)}

    def client(bucket: str, *, credential_provider: Any, **how: Any) -> GCSStore:
        assert credential_provider()["token"] == "a token"
        return GCSStore(bucket, config=config, **how)

    monkeypatch.setattr(clients, "GCSStore", client)
    location = parse(f"gs:{BUCKET}:/deep/{name}")
    bucket = GCSStore(BUCKET, config=config, client_options={"allow_http": True})
    return Case(
        open_store(location, {"GOOGLE_ACCESS_TOKEN": "a token"}),
        lambda path, data: bucket.put(f"{location.path}/{path}", data),
    )


def _rest(address: str, served: Path, name: str) -> Case:
    location = parse(f"rest:{address}{name}")

    def plant(path: str, data: bytes) -> None:
        (served / name / path).parent.mkdir(parents=True, exist_ok=True)
        (served / name / path).write_bytes(data)

    return Case(open_store(location, {}), plant)


@pytest.fixture(params=["memory", "local", "s3", "google", "rest"])
def case(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Case]:
    match request.param:
        case "memory":
            case = _memory(tmp_path)
        case "local":
            case = _local(tmp_path)
        case "s3":
            case = _s3(request.getfixturevalue("s3"), tmp_path.name)
        case "google":
            case = _google(request.getfixturevalue("google"), tmp_path.name, monkeypatch)
        case _:
            address, served = request.getfixturevalue("rest")
            case = _rest(address, served, tmp_path.name)
    with closing(case.store):
        case.store.prepare()
        yield case


@pytest.fixture
def store(case: Case) -> Store:
    return case.store


@pytest.mark.parametrize(("kind", "name"), FILES)
def test_what_was_written_is_read_listed_and_deleted(store: Store, kind: Kind, name: str) -> None:
    assert not list(store.list(kind))
    store.write(kind, name, [b"some", bytearray(b"thing"), memoryview(b"else")[1:]])
    assert store.read(kind, name) == b"somethinglse"
    assert list(store.list(kind)) == [(name, 12)]
    store.delete(kind, name)
    assert not list(store.list(kind))
    with pytest.raises(NotFound):
        store.read(kind, name)


@pytest.mark.parametrize(("kind", "name"), FILES)
def test_what_is_not_there_is_told_as_that(store: Store, kind: Kind, name: str) -> None:
    with pytest.raises(NotFound):
        store.read(kind, name)
    with pytest.raises(NotFound):
        store.read_range(kind, name, 0, 1)
    store.delete(kind, name)


def test_a_repository_is_pruned_there(store: Store) -> None:
    """Where deletes are allowed, which is asked before."""
    repository = new_repository(store)
    kept = with_garbage(repository, random.Random(1), rounds=4)
    check_deletes(repository)
    assert pruned(repository).repacked
    assert_whole(store, kept)
    assert indexed(repository) == {name for name, _ in store.list(Kind.PACK)}


def test_a_pack_of_many_pieces_comes_back_whole(store: Store) -> None:
    pieces = [bytes([number % 251]) * number for number in range(2500)]
    store.write(Kind.PACK, NAMES[1], pieces)
    assert store.read(Kind.PACK, NAMES[1]) == b"".join(pieces)


@pytest.mark.parametrize("pieces", [[], [b""]])
def test_an_empty_file_is_a_file(store: Store, pieces: list[bytes]) -> None:
    store.write(Kind.LOCK, NAMES[1], pieces)
    assert store.read(Kind.LOCK, NAMES[1]) == b""
    assert list(store.list(Kind.LOCK)) == [(NAMES[1], 0)]


def test_a_range_is_exact(store: Store) -> None:
    store.write(Kind.PACK, NAMES[1], [bytes(range(100))])
    for offset, length in ((0, 100), (0, 1), (99, 1), (20, 30), (50, 0)):
        read = store.read_range(Kind.PACK, NAMES[1], offset, length)
        assert read == bytes(range(offset, offset + length))


@pytest.mark.parametrize(("offset", "length"), [(0, 101), (99, 2), (100, 1), (500, 5)])
def test_a_file_that_ends_before_is_an_error(store: Store, offset: int, length: int) -> None:
    store.write(Kind.PACK, NAMES[1], [bytes(range(100))])
    with pytest.raises(StoreFailed):
        store.read_range(Kind.PACK, NAMES[1], offset, length)


def test_the_same_may_be_written_again(store: Store) -> None:
    for _ in range(2):
        store.write(Kind.PACK, NAMES[1], [b"the same"])
    assert store.read(Kind.PACK, NAMES[1]) == b"the same"
    assert len(list(store.list(Kind.PACK))) == 1


# SeaweedFS takes no notice of the header by which Google's service is told so.
@pytest.mark.parametrize("case", ["memory", "local", "s3", "rest"], indirect=True)
def test_the_first_config_stays(store: Store) -> None:
    store.write(Kind.CONFIG, "", [b"first"], create=True)
    with pytest.raises(AlreadyThere):
        store.write(Kind.CONFIG, "", [b"second"], create=True)
    assert store.read(Kind.CONFIG, "") == b"first"


def test_a_repository_that_is_there_is_prepared_without_harm(store: Store) -> None:
    store.write(Kind.CONFIG, "", [b"config"])
    store.prepare()
    assert store.read(Kind.CONFIG, "") == b"config"


def test_all_packs_are_listed(store: Store) -> None:
    for number, name in enumerate(NAMES):
        store.write(Kind.PACK, name, [bytes(number)])
    assert dict(store.list(Kind.PACK)) == {name: number for number, name in enumerate(NAMES)}


def test_what_bears_no_id_is_not_listed(case: Case) -> None:
    name = NAMES[0]
    for path in (f"snapshots/{name}-tmp-1", "snapshots/README", f"snapshots/{name[:-1]}"):
        case.plant(path, b"x")
    for path in (f"data/00/{name}-tmp-1", f"snapshots/{name}", path_of(Kind.PACK, name)):
        case.plant(path, b"x")
    assert list(case.store.list(Kind.SNAPSHOT)) == [(name, 1)]
    assert list(case.store.list(Kind.PACK)) == [(name, 1)]


@pytest.mark.parametrize("name", ["", "../config", "A" * 64, "0" * 63, "0" * 65, "0" * 64 + "\n"])
def test_a_name_that_is_none_is_refused(store: Store, name: str) -> None:
    """Names are read from a repository, in which somebody may have written others."""
    for call in (
        lambda: store.read(Kind.PACK, name),
        lambda: store.write(Kind.PACK, name, [b"x"]),
        lambda: store.delete(Kind.PACK, name),
    ):
        with pytest.raises(Damaged):
            call()


SMALL = [(Kind.CONFIG, ""), (Kind.KEY, NAMES[0]), (Kind.LOCK, NAMES[0])]


@pytest.mark.parametrize(("kind", "name"), SMALL)
def test_what_is_longer_than_any_of_its_kind_is_damage(store: Store, kind: Kind, name: str) -> None:
    path, most = path_of(kind, name), bounds.LARGEST[kind]
    store.write(kind, name, [bytes(most)])
    assert len(store.read(kind, name)) == most
    store.delete(kind, name)
    store.write(kind, name, [bytes(most + 1)])
    with pytest.raises(Damaged, match=f"{path}: it has more than the {most} bytes"):
        store.read(kind, name)
    with pytest.raises(Damaged, match="more than"):
        store.read_range(kind, name, 0, most + 1)
    assert len(store.read_range(kind, name, 1, 100)) == 100


def test_more_files_than_there_can_be_are_an_error(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(bounds.MOST, Kind.LOCK, 3)
    for name in NAMES[:3]:
        store.write(Kind.LOCK, name, [b"lock"])
    assert len(list(store.list(Kind.LOCK))) == 3
    store.write(Kind.LOCK, NAMES[3], [b"lock"])
    with pytest.raises(StoreFailed, match="lists more than 3 locks"):
        list(store.list(Kind.LOCK))


def test_several_threads_use_it_at_once(store: Store) -> None:
    def work(name: str) -> bytes:
        store.write(Kind.PACK, name, [name.encode() * 1000])
        return store.read(Kind.PACK, name)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(work, NAMES)) == [name.encode() * 1000 for name in NAMES]


def test_a_full_disk_leaves_nothing_half_written(small_disk: Path) -> None:
    store = LocalStore(small_disk)
    store.prepare()
    with pytest.raises(StoreFailed, match="No space left"):
        store.write(Kind.PACK, NAMES[0], [bytes(1 << 20)] * 2)
    assert not [path for path in small_disk.rglob("*") if path.is_file()]
    store.write(Kind.PACK, NAMES[1], [b"fits"])
    assert list(store.list(Kind.PACK)) == [(NAMES[1], 4)]


@pytest.mark.parametrize("server", ["s3", "rest"])
def test_restic_finds_the_repository_where_ours_is_said_to_be(
    server: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in S3_CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    if server == "s3":
        place = f"s3:{request.getfixturevalue('s3')}/{BUCKET}/{tmp_path.name}"
    else:
        place = f"rest:{request.getfixturevalue('rest')[0]}{tmp_path.name}/"
    location = parse(place)
    with closing(open_store(location, S3_CREDENTIALS)) as store:
        repository = new_repository(store)
        # This restic reads user and password of REST from the address alone.
        spelled = place if location.user else str(location)
        restic = Restic("restic", tmp_path)
        restic.run("-r", spelled, "backup", "--stdin", told="theirs")
        assert len(repository.snapshots()) == 1
        restic.run("-r", spelled, "check", "--read-data")
