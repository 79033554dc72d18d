"""Snapshots: small files, each with a tree and what people and retention want to know of it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from convoy_py.restic.errors import Damaged

_FRACTION = re.compile(r"(?<=:\d\d)\.(\d+)")
_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a snapshot says; `id` is empty until it is stored.

    restic groups by `hostname` and `paths`, which are absolute, and the days of retention are those
    of the zone in `time`. A tag has no comma.
    """

    time: datetime  # with a zone
    tree: bytes  # 32 bytes
    paths: tuple[str, ...]
    hostname: str
    id: str = ""
    username: str = ""
    uid: int = 0
    gid: int = 0
    tags: tuple[str, ...] = ()
    parent: str = ""  # the id of the snapshot that this one was compared with
    original: str = ""  # the id that it had before its tags changed
    program_version: str = ""
    summary: Mapping[str, Any] = field(default_factory=dict)  # the counters that restic shows
    others: Mapping[str, Any] = field(default_factory=dict)  # fields that we do not know


def encode(snapshot: Snapshot) -> bytes:
    """The JSON of a snapshot."""
    fields = {
        "time": snapshot.time.isoformat(),
        "parent": snapshot.parent,
        "tree": snapshot.tree.hex(),
        "paths": snapshot.paths,
        "hostname": snapshot.hostname,
        "username": snapshot.username,
        "uid": snapshot.uid,
        "gid": snapshot.gid,
        "tags": snapshot.tags,
        "original": snapshot.original,
        "program_version": snapshot.program_version,
        "summary": snapshot.summary,
    }
    told = {key: value for key, value in fields.items() if value}
    return json.dumps(told | dict(snapshot.others), separators=(",", ":")).encode()


def decode(name: str, fields: Any) -> Snapshot:
    """The snapshot of that id, of parsed JSON; its `time` is cut to microseconds."""
    match fields:
        case {"time": str(time), "tree": str(tree)} if _ID.fullmatch(tree):
            return Snapshot(
                id=name,
                time=_time(name, time),
                tree=bytes.fromhex(tree),
                paths=_texts(fields, "paths"),
                tags=_texts(fields, "tags"),
                uid=_number(fields, "uid"),
                gid=_number(fields, "gid"),
                summary=summary if isinstance(summary := fields.get("summary"), dict) else {},
                others={key: value for key, value in fields.items() if key not in _KNOWN},
                **{key: _text(fields, key) for key in _TEXTS},
            )
        case _:
            raise Damaged(f"snapshots/{name}: it has no time or no tree")


_TEXTS = ("hostname", "username", "parent", "original", "program_version")
_KNOWN = frozenset((*_TEXTS, "time", "tree", "paths", "tags", "uid", "gid", "summary"))


def _time(name: str, time: str) -> datetime:
    """Python reads six digits of a fraction, and restic writes nine."""
    cut = _FRACTION.sub(lambda found: f".{found[1][:6]:0<6}", time)
    try:
        read = datetime.fromisoformat(cut)
    except ValueError:
        read = None
    if read is None or read.tzinfo is None:
        raise Damaged(f"snapshots/{name}: its time is none: {time[:40]!r}")
    return read


def _text(fields: dict[str, Any], key: str) -> str:
    return value if isinstance(value := fields.get(key), str) else ""


def _number(fields: dict[str, Any], key: str) -> int:
    return value if type(value := fields.get(key)) is int else 0


def _texts(fields: dict[str, Any], key: str) -> tuple[str, ...]:
    found = fields.get(key)
    return tuple(t for t in found if isinstance(t, str)) if isinstance(found, list) else ()
