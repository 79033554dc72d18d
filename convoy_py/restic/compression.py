"""zstd as the format has it: one frame for each blob or file, and never more than was expected."""

import sys
import threading

from convoy_py.restic.errors import Damaged
from convoy_py.restic.stores.base import Piece

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_LEVEL = 3  # like restic's default
_threads = threading.local()


def compress(plain: Piece) -> bytes:
    """One frame that tells its plain length."""
    compressor: zstd.ZstdCompressor | None = getattr(_threads, "compressor", None)
    if compressor is None:
        compressor = _threads.compressor = zstd.ZstdCompressor(level=_LEVEL)
    return compressor.compress(plain, zstd.ZstdCompressor.FLUSH_FRAME)


def decompress(frame: Piece, longest: int) -> bytes:
    """The plain bytes of exactly one frame; Damaged if they are more than `longest`."""
    decompressor = zstd.ZstdDecompressor()
    try:
        plain = decompressor.decompress(frame, longest + 1)
    except zstd.ZstdError as error:
        raise Damaged(f"what should be zstd is not: {error}") from None
    if len(plain) > longest:
        raise Damaged(f"decompressed it has more than the {longest} bytes expected")
    if not decompressor.eof or decompressor.unused_data:
        raise Damaged("what should be one frame of zstd ends before it, or after it")
    return plain
