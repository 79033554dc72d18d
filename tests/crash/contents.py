"""What the crash tests write into volumes, how they read it, and how they tell of it."""

import os
from hashlib import sha256
from pathlib import Path

CANARY = "canary"
_SHORT = 40


def write_canary(folder: Path, content: bytes) -> None:
    """Put the content into a mounted volume, so that it survives a power cut."""
    with open(folder / CANARY, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_canary(folder: Path) -> bytes:
    """What `write_canary` put there, or into a folder of that name; nothing if there is none."""
    try:
        if (folder / CANARY).is_dir():
            return read_canary(folder / CANARY)
        return (folder / CANARY).read_bytes()
    except FileNotFoundError:
        return b""


def told(content: bytes) -> str:
    """A content in a message: itself if it is short, else by its checksum."""
    if len(content) < _SHORT:
        return repr(content)
    return f"{len(content)} bytes (sha256 {sha256(content).hexdigest()[:12]})"
