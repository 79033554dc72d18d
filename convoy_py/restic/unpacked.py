"""Files that lie by themselves, not in packs: indexes, snapshots, locks, and the config."""

import hashlib
import json
from typing import Any

from convoy_py.restic import compression
from convoy_py.restic.errors import Damaged, NotFound, RepositoryError
from convoy_py.restic.seal import MasterKey
from convoy_py.restic.stores.base import Kind, Store
from convoy_py.restic.stores.bounds import LARGEST

_COMPRESSED = b"\x02"


def encode(master: MasterKey, plain: bytes) -> bytes:
    """The JSON `plain` as it is stored."""
    return master.seal(_COMPRESSED + compression.compress(plain))


def decode(master: MasterKey, stored: bytes, longest: int) -> bytes:
    """The JSON; Damaged if it was changed or is longer than `longest`."""
    plain = master.open(stored)
    if plain[:1] == _COMPRESSED:
        return compression.decompress(memoryview(plain)[1:], longest)
    if plain[:1] not in (b"{", b"["):
        raise Damaged("a file is neither compressed nor JSON")
    return plain


def save(store: Store, master: MasterKey, kind: Kind, plain: bytes) -> str:
    """Store JSON; it is durable under the returned name."""
    stored = encode(master, plain)
    name = hashlib.sha256(stored).hexdigest()
    store.write(kind, name, [stored])
    return name


def load(store: Store, master: MasterKey, kind: Kind, name: str) -> Any:
    """The parsed JSON of a file; NotFound, or Damaged, which names the file."""
    place = f"{kind.value}/{name}: "
    try:
        return parse(decode(master, read(store, kind, name), LARGEST[kind]))
    except Damaged as error:
        raise Damaged(f"{place}{str(error).removeprefix(place)}") from None


def read(store: Store, kind: Kind, name: str) -> bytes:
    """The bytes of a file as stored, after a look at whether they hash to its name."""
    stored = store.read(kind, name)
    if hashlib.sha256(stored).hexdigest() != name:
        raise Damaged("its bytes do not hash to its name")
    return stored


def parse(plain: bytes) -> Any:
    """JSON, or Damaged."""
    try:
        return json.loads(plain)
    except (ValueError, RecursionError):
        raise Damaged("it is not JSON") from None


def find(store: Store, kind: Kind, prefix: str) -> str:
    """The one name that begins so; a RepositoryError tells that there are several, or none."""
    names = [name for name, _ in store.list(kind) if name.startswith(prefix)]
    if len(names) == 1:
        return names[0]
    what = f"{len(names)} {kind.value} begin" if names else f"none of the {kind.value} begins"
    failure = RepositoryError if names else NotFound
    raise failure(f"{what} with {prefix!r}: give a unique beginning of its id")
