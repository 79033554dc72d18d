"""The seal of everything in a repository: AES-256 in counter mode, and Poly1305-AES over it."""

import secrets
from dataclasses import dataclass, field
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB
from cryptography.hazmat.primitives.poly1305 import Poly1305

from convoy_py.restic.errors import Damaged
from convoy_py.restic.stores.base import Piece

_NONCE = 16
_TAG = 16
OVERHEAD = _NONCE + _TAG  # bytes more than the plain text


@dataclass(frozen=True, slots=True)
class MasterKey:
    """The three parts of a repository's key, or of one that a password makes; none is shown.

    Usable from several threads at once.
    """

    encrypt: bytes = field(repr=False)  # 32 bytes
    mac_k: bytes = field(repr=False)  # 16 bytes
    mac_r: bytes = field(repr=False)  # 16 bytes

    def __post_init__(self) -> None:
        if (len(self.encrypt), len(self.mac_k), len(self.mac_r)) != (32, 16, 16):
            raise Damaged("a key has parts of 32, 16 and 16 bytes, and this one has not")

    @classmethod
    def new(cls) -> Self:
        return cls(secrets.token_bytes(32), secrets.token_bytes(16), secrets.token_bytes(16))

    def seal(self, plain: Piece) -> bytes:
        """`plain` encrypted and signed, OVERHEAD bytes longer."""
        nonce = secrets.token_bytes(_NONCE)
        hidden = Cipher(AES(self.encrypt), CTR(nonce)).encryptor().update(plain)
        tag = Poly1305.generate_tag(self._tag_key(nonce), hidden)
        return b"".join((nonce, hidden, tag))

    def open(self, sealed: Piece) -> bytes:
        """The plain text; Damaged if a single bit is not as it was sealed, or by another key."""
        view = memoryview(sealed)
        if len(view) < OVERHEAD:
            raise Damaged("what is sealed has at least 32 bytes")
        nonce, hidden, tag = bytes(view[:_NONCE]), view[_NONCE:-_TAG], bytes(view[-_TAG:])
        if not any(nonce):
            raise Damaged("a nonce is all zeros")
        try:
            Poly1305.verify_tag(self._tag_key(nonce), hidden, tag)
        except InvalidSignature:
            raise Damaged("the seal is broken: changed, or sealed by another key") from None
        return Cipher(AES(self.encrypt), CTR(nonce)).decryptor().update(hidden)

    def _tag_key(self, nonce: bytes) -> bytes:
        """The key for one message, which Poly1305 clamps by itself."""
        block = Cipher(AES(self.mac_k), ECB()).encryptor().update(nonce)  # noqa: S305 - by the format
        return self.mac_r + block
