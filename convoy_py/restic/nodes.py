"""Trees: what a folder holds, each entry a node, as JSON that is restic's to the byte."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from convoy_py.restic import quoting, unpacked
from convoy_py.restic.errors import Damaged

TYPES = ("file", "dir", "symlink", "dev", "chardev", "fifo", "socket")
_LARGEST = (1 << 64) - 1


@dataclass(slots=True)
class Node:
    """One entry of a folder. Times are nanoseconds since 1970; ids are 32 bytes.

    For a tree to be the same from run to run, what differs by itself is left as it is here:
    no inode for a file with one name, the mtime in all three times, no names of users.
    """

    name: bytes
    type: str  # one of TYPES
    mode: int = 0  # Go's bits: see modes
    mtime: int = 0
    atime: int = 0
    ctime: int = 0
    uid: int = 0
    gid: int = 0
    user: str = ""
    group: str = ""
    inode: int = 0
    device_id: int = 0
    size: int = 0
    links: int = 0
    target: bytes = b""  # of a symbolic link
    xattrs: dict[bytes, bytes] = field(default_factory=dict)  # in the order of the system's list
    attributes: dict[str, Any] = field(default_factory=dict)  # other systems' own
    device: int = 0  # st_rdev
    content: list[bytes] | None = None  # blobs in order; a list for files, and only for them
    subtree: bytes | None = None  # of a folder
    error: str = ""


def encode_tree(nodes: list[Node]) -> bytes:
    """The blob of a folder; the nodes may come in any order, and have names of their own."""
    ordered = sorted(nodes, key=lambda node: node.name)
    _check_names(ordered)
    return ('{"nodes":[' + ",".join(map(_encoded, ordered)) + "]}\n").encode()


def decode_tree(plain: bytes) -> list[Node]:
    """The nodes by name; Damaged for what no backup of a folder can hold.

    Such as names with a slash, or a name twice: they would be written elsewhere than they seem.
    """
    match unpacked.parse(plain):
        case {"nodes": list(found)}:
            nodes = [_decoded(fields) for fields in found]
        case {"nodes": None}:
            nodes = []
        case _:
            raise Damaged("a tree has no list of nodes")
    _check_names(nodes)
    return nodes


def _check_names(nodes: list[Node]) -> None:
    last = b""
    for node in nodes:
        name = node.name
        if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
            raise Damaged(f"a tree has a name that no file can have: {name[:80]!r}")
        if name <= last:
            raise Damaged(f"a tree has names twice or not in order: {name[:80]!r}")
        last = name


def _encoded(node: Node) -> str:
    return "{" + ",".join(_fields(node)) + "}"


def _fields(node: Node) -> Iterator[str]:
    """In Go's order; what is empty or 0 is left out, but for a few fields."""
    yield f'"name":{quoting.json_name(node.name)},"type":"{node.type}"'
    if node.mode:
        yield f'"mode":{node.mode}'
    mtime = quoting.time(node.mtime)
    atime = mtime if node.atime == node.mtime else quoting.time(node.atime)
    ctime = mtime if node.ctime == node.mtime else quoting.time(node.ctime)
    yield f'"mtime":"{mtime}","atime":"{atime}","ctime":"{ctime}"'
    yield f'"uid":{node.uid},"gid":{node.gid}'
    for key, text in (("user", node.user), ("group", node.group)):
        if text:
            yield f'"{key}":{quoting.json_string(text.encode())}'
    for key in ("inode", "device_id", "size", "links"):
        if number := getattr(node, key):
            yield f'"{key}":{number}'
    yield from _rare_fields(node)
    if node.device:
        yield f'"device":{node.device}'
    yield f'"content":{_content(node.content)}'
    if node.subtree is not None:
        yield f'"subtree":"{node.subtree.hex()}"'
    if node.error:
        yield f'"error":{quoting.json_string(node.error.encode())}'


def _rare_fields(node: Node) -> Iterator[str]:
    if node.target:
        yield f'"linktarget":{quoting.json_string(node.target)}'
        if not _is_utf8(node.target):
            yield f'"linktarget_raw":"{_base64(node.target)}"'
    if node.xattrs:
        pairs = (
            f'{{"name":{quoting.json_string(name)},"value":"{_base64(value)}"}}'
            for name, value in node.xattrs.items()
        )
        yield f'"extended_attributes":[{",".join(pairs)}]'
    if node.attributes:
        pairs = (
            f"{quoting.json_string(name.encode())}:{quoting.json_value(node.attributes[name])}"
            for name in sorted(node.attributes)
        )
        yield f'"generic_attributes":{{{",".join(pairs)}}}'


def _content(ids: list[bytes] | None) -> str:
    if ids is None:
        return "null"
    return '["' + '","'.join(map(bytes.hex, ids)) + '"]' if ids else "[]"


def _decoded(fields: Any) -> Node:
    if not isinstance(fields, dict):
        raise Damaged("a node is no object")
    node = Node(b"", "")
    for key, value in fields.items():
        if known := _FIELDS.get(key):
            name, decode = known
            setattr(node, name, decode(value))
    if raw := fields.get("linktarget_raw"):
        node.target = _unbase64(raw)
    if node.type not in TYPES:
        raise Damaged(f"a node is of no known type: {node.type[:80]!r}")
    return node


def _text(value: Any) -> str:
    if isinstance(value, str) and (value.isascii() or _is_unicode(value)):
        return value
    raise Damaged(f"a node has something else where a text should be: {value!r:.80}")


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise Damaged(f"a node has something else where a number should be: {value!r:.80}")
    return value


def _name(value: Any) -> bytes:
    return quoting.unquoted(_text(value))


def _time(value: Any) -> int:
    return quoting.nanoseconds(value if isinstance(value, str) else _text(value))


def _target(value: Any) -> bytes:
    return _text(value).encode()


def _xattrs(found: Any) -> dict[bytes, bytes]:
    xattrs = {}
    for pair in _list(found):
        match pair:
            case {"name": str(name), "value": str() | None as value}:
                xattrs[_text(name).encode()] = _unbase64(value) if value else b""
            case _:
                raise Damaged("an extended attribute is no name and value")
    return xattrs


def _attributes(found: Any) -> dict[str, Any]:
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Damaged("generic attributes are no object")
    return found


def _ids(found: Any) -> list[bytes] | None:
    return None if found is None else [_id(text) for text in _list(found)]


def _subtree(found: Any) -> bytes | None:
    return None if found is None else _id(found)


def _id(text: Any) -> bytes:
    try:
        made = bytes.fromhex(text)
    except (TypeError, ValueError):
        made = b""
    if len(made) != 32 or len(text) != 64:
        raise Damaged("a tree has what is no id of a blob")
    return made


def _list(found: Any) -> list[Any]:
    if found is None:
        return []
    if not isinstance(found, list):
        raise Damaged("a node has no list where one should be")
    return found


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_unicode(text: str) -> bool:
    return not any(0xD800 <= ord(c) <= 0xDFFF for c in text)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _unbase64(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        raise Damaged("a node has no base64 where it should be") from None


_FIELDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "name": ("name", _name),
    "linktarget": ("target", _target),
    "extended_attributes": ("xattrs", _xattrs),
    "generic_attributes": ("attributes", _attributes),
    "content": ("content", _ids),
    "subtree": ("subtree", _subtree),
    **{key: (key, _text) for key in ("type", "user", "group", "error")},
    **{key: (key, _time) for key in ("mtime", "atime", "ctime")},
    **{
        key: (key, _number)
        for key in ("mode", "uid", "gid", "inode", "device_id", "size", "links", "device")
    },
}
