"""Passwords open a repository's key, several each by itself, and never too dearly."""

import hashlib
import json
from typing import Any

import pytest

from convoy_py.restic import keyfiles
from convoy_py.restic.errors import Damaged, NoRepository, RepositoryError, WrongPassword
from convoy_py.restic.keyfiles import Scrypt
from convoy_py.restic.seal import MasterKey
from convoy_py.restic.stores.base import Kind
from tests.fakes_restic import NOW, QUICK, MemoryStore

KEY = MasterKey.new()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def put(store: MemoryStore, content: bytes) -> str:
    name = hashlib.sha256(content).hexdigest()
    store.write(Kind.KEY, name, [content])
    return name


def altered(store: MemoryStore, name: str, **fields: Any) -> None:
    """In place of the key file, one with other fields."""
    content = json.loads(store.files.pop((Kind.KEY, name)))
    put(store, json.dumps(content | fields).encode())


def test_each_password_opens_the_one_key(store: MemoryStore) -> None:
    for password in ("first", "sécond"):
        keyfiles.add(store, KEY, password, NOW, QUICK)

    assert keyfiles.find(store, "first") == keyfiles.find(store, "sécond") == KEY
    with pytest.raises(WrongPassword, match=r"memory:.*none of its keys"):
        keyfiles.find(store, "third")


def test_a_key_tells_who_made_it_and_when(store: MemoryStore) -> None:
    name = keyfiles.add(store, KEY, "first", NOW, QUICK)

    [key] = keyfiles.every(store)

    assert (key.id, key.created) == (name, NOW.isoformat())
    assert key.username
    assert key.hostname


def test_there_is_no_repository_without_keys(store: MemoryStore) -> None:
    with pytest.raises(NoRepository, match="no key"):
        keyfiles.find(store, "any")


def test_a_broken_key_is_passed_over_for_a_whole_one(store: MemoryStore) -> None:
    keyfiles.add(store, KEY, "first", NOW, QUICK)
    for name in ("00" * 32, "ff" * 32):
        store.write(Kind.KEY, name, [b"{}"])

    assert keyfiles.find(store, "first") == KEY
    assert len(list(keyfiles.every(store))) == 1
    with pytest.raises(Damaged, match="hash to its name"):
        keyfiles.find(store, "other")


@pytest.mark.parametrize(
    "fields",
    [
        {"kdf": "argon2"},
        {"N": 1 << 22},
        {"N": 1 << 20, "r": 8},
        {"N": 1000},
        {"N": 1},
        {"N": "16"},
        {"r": 0},
        {"p": 65},
        {"salt": "AAAA"},
        {"salt": "no base64"},
        {"data": "no base64"},
    ],
    ids=str,
)
def test_what_would_cost_too_much_or_is_none_is_refused_untried(
    store: MemoryStore, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    altered(store, keyfiles.add(store, KEY, "first", NOW, QUICK), **fields)
    monkeypatch.setattr("hashlib.scrypt", pytest.fail)

    with pytest.raises(Damaged):
        keyfiles.find(store, "first")


def test_a_huge_key_file_is_refused(store: MemoryStore) -> None:
    put(store, b'{"kdf":"scrypt"' + b" " * 100_000)

    with pytest.raises(Damaged):
        keyfiles.find(store, "first")


def test_no_more_than_twenty_keys_are_tried(store: MemoryStore) -> None:
    for number in range(25):
        keyfiles.add(store, KEY, f"p{number}", NOW, QUICK)
    store.calls.clear()

    with pytest.raises(WrongPassword, match="first 20"):
        keyfiles.find(store, "other")

    assert sum(verb == "read" for verb, *_ in store.calls) == 20


def test_what_restic_chooses_is_taken() -> None:
    assert Scrypt(32768, 8, 1) == Scrypt()
    Scrypt(32768, 8, 12)


def test_the_last_whole_key_is_never_removed(store: MemoryStore) -> None:
    first, second = (keyfiles.add(store, KEY, p, NOW, QUICK) for p in ("first", "second"))
    put(store, b"broken")

    keyfiles.remove(store, first)
    with pytest.raises(RepositoryError, match="last whole key"):
        keyfiles.remove(store, second)

    assert keyfiles.find(store, "second") == KEY
