"""Whether a pack is to the bit what an index says of it."""

import hashlib

from convoy_py.restic import packs
from convoy_py.restic.errors import Damaged
from convoy_py.restic.packs import Pack
from convoy_py.restic.seal import MasterKey
from convoy_py.restic.stores.base import Kind, Store


def check_pack(store: Store, master: MasterKey, pack: Pack) -> None:
    """Read all of it: name, header, and the seal and hash of each blob; Damaged, or NotFound."""
    name = pack.id.hex()
    try:
        _check(master, pack, memoryview(store.read(Kind.PACK, name)))
    except Damaged as error:
        raise Damaged(f"data/{name}: {error}") from None


def _check(master: MasterKey, pack: Pack, stored: memoryview) -> None:
    if hashlib.sha256(stored).digest() != pack.id:
        raise Damaged("its bytes do not hash to its name")
    if packs.read_file(master, stored) != sorted(pack.blobs, key=lambda blob: blob.offset):
        raise Damaged("its header lists other blobs than the index")
    for blob in pack.blobs:
        blob.open(master, stored[blob.offset : blob.offset + blob.length])
