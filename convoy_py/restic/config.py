"""The config of a repository: sealed JSON, neither compressed nor ever rewritten."""

import json
import re
import secrets
from dataclasses import dataclass
from typing import Self

from convoy_py.restic import polynomial, unpacked
from convoy_py.restic.errors import Damaged, RepositoryError
from convoy_py.restic.seal import MasterKey

VERSION = 2
_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Config:
    id: str  # 64 hexadecimal digits, by which caches and people tell repositories apart
    chunker_polynomial: int

    @classmethod
    def new(cls) -> Self:
        return cls(secrets.token_hex(32), polynomial.new())

    def encode(self, master: MasterKey) -> bytes:
        fields = {
            "version": VERSION,
            "id": self.id,
            "chunker_polynomial": f"{self.chunker_polynomial:x}",
        }
        return master.seal(json.dumps(fields, separators=(",", ":")).encode())

    @classmethod
    def decode(cls, master: MasterKey, stored: bytes) -> Self:
        """Fields that we do not know, as rustic writes, are ignored."""
        fields = unpacked.parse(master.open(stored))
        match fields:
            case {"version": int(version)} if version != VERSION:
                raise RepositoryError(
                    f"the repository has format {version}, and only {VERSION} is known: "
                    "`restic migrate upgrade_repo_v2` makes it of an older one"
                )
            case {"version": int(), "id": str(name), "chunker_polynomial": str(digits)}:
                return cls(name, _polynomial(name, digits))
            case _:
                raise Damaged("config: version, id or polynomial is missing")


def _polynomial(name: str, digits: str) -> int:
    if not _ID.fullmatch(name) or not re.fullmatch(r"[0-9a-f]{1,16}", digits):
        raise Damaged("config: the id or the polynomial is not hexadecimal")
    return int(digits, 16)
