"""Key files: each seals the repository's one master key with a password."""

import base64
import getpass
import hashlib
import json
import secrets
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from convoy_py.restic import unpacked
from convoy_py.restic.errors import Damaged, NoRepository, RepositoryError, WrongPassword
from convoy_py.restic.seal import MasterKey
from convoy_py.restic.stores.base import Kind, Store

_SALT = 64
_MOST_TRIED = (
    20  # each costs up to a second, and whoever can write there chooses how many there are
)
_LARGEST_MEMORY = 256 << 20


@dataclass(frozen=True, slots=True)
class Scrypt:
    """What a try of a password costs: 128·n·r bytes of memory, p times over."""

    n: int = 32768
    r: int = 8
    p: int = 1

    def __post_init__(self) -> None:
        if not (
            1 < self.n <= 1 << 21
            and self.n & (self.n - 1) == 0
            and 0 < self.r <= 64
            and 0 < self.p <= 64
            and 128 * self.n * self.r <= _LARGEST_MEMORY
            and 128 * self.n * self.r * self.p <= 8 * _LARGEST_MEMORY
        ):
            raise Damaged(f"scrypt with N={self.n}, r={self.r}, p={self.p} is out of bounds")

    def key(self, password: str, salt: bytes) -> MasterKey:
        made = hashlib.scrypt(
            password.encode(),
            salt=salt,
            n=self.n,
            r=self.r,
            p=self.p,
            maxmem=2 * _LARGEST_MEMORY,
            dklen=64,
        )
        return MasterKey(made[:32], made[32:48], made[48:])


@dataclass(frozen=True, slots=True)
class KeyFile:
    """What a key file tells without a password; the fields for people may be empty."""

    id: str
    created: str  # RFC 3339
    username: str
    hostname: str
    scrypt: Scrypt
    salt: bytes
    data: bytes

    def open(self, password: str) -> MasterKey:
        """The master key, or WrongPassword."""
        try:
            plain = self.scrypt.key(password, self.salt).open(self.data)
        except Damaged:
            raise WrongPassword("the password opens none of the repository's keys") from None
        match unpacked.parse(plain):
            case {"mac": {"k": str(k), "r": str(r)}, "encrypt": str(encrypt)}:
                return MasterKey(_bytes(encrypt), _bytes(k), _bytes(r))
            case _:
                raise Damaged(f"keys/{self.id}: what it seals is no master key")


def add(
    store: Store,
    master: MasterKey,
    password: str,
    now: datetime,
    scrypt: Scrypt | None = None,
    host: str = "",
) -> str:
    """One more password for the repository; returns the id of its key file.

    `host` is where it is made, for people; default: this host's name.
    """
    stored = encode(master, password, now, scrypt or Scrypt(), host)
    name = hashlib.sha256(stored).hexdigest()
    store.write(Kind.KEY, name, [stored])
    return name


def encode(
    master: MasterKey, password: str, now: datetime, scrypt: Scrypt, host: str = ""
) -> bytes:
    """A key file; `now` has a zone."""
    salt = secrets.token_bytes(_SALT)
    parts = {
        "mac": {"k": _text(master.mac_k), "r": _text(master.mac_r)},
        "encrypt": _text(master.encrypt),
    }
    fields = {
        "created": now.isoformat(),
        "username": _username(),
        "hostname": host or socket.gethostname(),
        "kdf": "scrypt",
        "N": scrypt.n,
        "r": scrypt.r,
        "p": scrypt.p,
        "salt": _text(salt),
        "data": _text(scrypt.key(password, salt).seal(json.dumps(parts).encode())),
    }
    return json.dumps(fields).encode()


def decode(name: str, stored: bytes) -> KeyFile:
    if hashlib.sha256(stored).hexdigest() != name:
        raise Damaged(f"keys/{name}: its bytes do not hash to its name")
    match fields := unpacked.parse(stored):
        case {
            "kdf": "scrypt",
            "N": int(n),
            "r": int(r),
            "p": int(p),
            "salt": str(salt),
            "data": str(data),
        } if len(_bytes(salt)) == _SALT:
            created, username, hostname = (
                _told(fields, of) for of in ("created", "username", "hostname")
            )
            scrypt = Scrypt(n, r, p)
            return KeyFile(name, created, username, hostname, scrypt, _bytes(salt), _bytes(data))
    raise Damaged(f"keys/{name}: it is no key file")


def find(store: Store, password: str) -> MasterKey:
    """The master key by a password of any key file.

    WrongPassword; NoRepository without a key; Damaged if no whole key opens, and one is broken.
    """
    damaged: Damaged | None = None
    names = sorted(name for name, _ in store.list(Kind.KEY))
    if not names:
        raise NoRepository(f"{store.location}: no repository, for there is no key")
    for name in names[:_MOST_TRIED]:
        try:
            return decode(name, store.read(Kind.KEY, name)).open(password)
        except WrongPassword:
            continue
        except Damaged as error:
            damaged = error
    some = f"the first {_MOST_TRIED} of " if len(names) > _MOST_TRIED else ""
    raise damaged or WrongPassword(f"{store.location}: the password opens none of {some}its keys")


def every(store: Store) -> Iterator[KeyFile]:
    """All key files that are whole, by id."""
    for name in sorted(name for name, _ in store.list(Kind.KEY)):
        try:
            yield decode(name, store.read(Kind.KEY, name))
        except Damaged:
            continue


def opened_by(store: Store, password: str) -> frozenset[str]:
    """The ids of the keys that a password opens; of the first twenty that are whole."""
    found = set()
    for key in islice(every(store), _MOST_TRIED):
        with suppress(WrongPassword):
            key.open(password)
            found.add(key.id)
    return frozenset(found)


def remove(store: Store, name: str) -> None:
    """Delete a key file; never the last, without which nobody could open the repository.

    The caller has the exclusive lock.
    """
    if all(key.id == name for key in every(store)):
        raise RepositoryError("this is the last whole key of the repository: first add another")
    store.delete(Kind.KEY, name)


def _username() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name
        return ""


def _told(fields: dict[str, Any], of: str) -> str:
    return value if isinstance(value := fields.get(of), str) else ""


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise Damaged("a part of a key is not base64") from None
