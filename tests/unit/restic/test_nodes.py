"""Trees are restic's to the byte, and none is taken that no folder can be."""

import json
import stat
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convoy_py.restic import modes
from convoy_py.restic.errors import Damaged
from convoy_py.restic.nodes import TYPES, Node, decode_tree, encode_tree

ID = bytes(range(32))
LONG = st.integers(0, (1 << 64) - 1)
TIMES = st.integers(-(10**18), 10**19)
NAMES = st.binary(min_size=1, max_size=20).filter(
    lambda n: n not in (b".", b"..") and not set(n) & {0, ord("/")}
)
NODES = st.builds(
    Node,
    name=NAMES,
    type=st.sampled_from(TYPES),
    mode=st.integers(0, (1 << 32) - 1),
    mtime=TIMES,
    atime=TIMES,
    ctime=TIMES,
    uid=LONG,
    gid=LONG,
    user=st.text(max_size=5),
    inode=LONG,
    size=LONG,
    links=LONG,
    target=st.binary(max_size=20),
    xattrs=st.dictionaries(st.text(min_size=1, max_size=5).map(str.encode), st.binary(max_size=20)),
    attributes=st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers()),
    device=LONG,
    content=st.none() | st.lists(st.binary(min_size=32, max_size=32), max_size=3),
    subtree=st.none() | st.just(ID),
    error=st.text(max_size=5),
)


@settings(max_examples=50)
@given(st.lists(NODES, max_size=3, unique_by=lambda node: node.name))
def test_every_tree_is_read_back(nodes: list[Node]) -> None:
    ordered = sorted(nodes, key=lambda node: node.name)

    plain = encode_tree(nodes)

    assert decode_tree(plain) == ordered
    assert encode_tree(decode_tree(plain)) == plain


def test_a_tree_is_as_restic_writes_it() -> None:
    folder = Node(b"d", "dir", mode=1 << 31 | 0o755, uid=1, user="u", subtree=ID)
    link = Node(b"l", "symlink", mode=1 << 27 | 0o777, target=b"\xff", links=1)
    file = Node(b"f", "file", mode=0o644, mtime=1, size=3, xattrs={b"user.a": b"\0"}, content=[ID])
    times = '"mtime":"1970-01-01T00:00:00Z","atime":"1970-01-01T00:00:00Z",'
    times += '"ctime":"1970-01-01T00:00:00Z"'
    odd = times.replace("00Z", "00.000000001Z", 1)

    assert encode_tree([link, folder, file]).decode() == (
        '{"nodes":['
        f'{{"name":"d","type":"dir","mode":2147484141,{times},"uid":1,"gid":0,"user":"u",'
        f'"content":null,"subtree":"{ID.hex()}"}},'
        f'{{"name":"f","type":"file","mode":420,{odd},"uid":0,"gid":0,"size":3,'
        '"extended_attributes":[{"name":"user.a","value":"AA=="}],'
        f'"content":["{ID.hex()}"]}},'
        f'{{"name":"l","type":"symlink","mode":134218239,{times},"uid":0,"gid":0,"links":1,'
        '"linktarget":"\\ufffd","linktarget_raw":"/w==","content":null}'
        "]}\n"
    )


def test_an_empty_folder_and_an_empty_file() -> None:
    assert encode_tree([]) == b'{"nodes":[]}\n'
    assert b'"content":[]' in encode_tree([Node(b"f", "file", content=[])])


def tree(*nodes: dict[str, Any]) -> bytes:
    time = "1970-01-01T00:00:00Z"
    plain: dict[str, Any] = {"type": "file", "mtime": time, "atime": time, "ctime": time}
    return json.dumps({"nodes": [plain | node for node in nodes]}).encode()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "/", "../x", r"a\x00b", r"\x2e\x2e", r"a\057b"]
)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(Damaged, match="no file can have"):
        decode_tree(tree({"name": name}))
    with pytest.raises(Damaged):
        encode_tree([Node(name.encode().decode("unicode_escape").encode(), "file")])


@pytest.mark.parametrize("names", [("b", "a"), ("a", "a"), ("a", r"\x61")])
def test_names_out_of_order_or_twice_are_refused(names: tuple[str, str]) -> None:
    with pytest.raises(Damaged, match="twice or not in order"):
        decode_tree(tree(*({"name": name} for name in names)))
    assert encode_tree([Node(b"b", "file"), Node(b"a", "file")])
    with pytest.raises(Damaged):
        encode_tree([Node(b"a", "file"), Node(b"a", "dir")])


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "irregular"},
        {"type": 1},
        {"mtime": None},
        {"mtime": "yesterday"},
        {"mode": -1},
        {"uid": "0"},
        {"uid": True},
        {"size": 1 << 64},
        {"size": 1.5},
        {"content": "ab"},
        {"content": ["ab"]},
        {"content": [" " + "ab" * 31 + "a"]},
        {"content": [1]},
        {"subtree": 5},
        {"linktarget": ["x"]},
        {"linktarget_raw": "?"},
        {"linktarget_raw": 1},
        {"extended_attributes": {}},
        {"extended_attributes": [{"name": "a"}]},
        {"extended_attributes": [{"name": "a", "value": "?"}]},
        {"generic_attributes": []},
        {"user": "\ud800"},
    ],
    ids=str,
)
def test_fields_of_another_form_are_damage(fields: dict[str, Any]) -> None:
    with pytest.raises(Damaged):
        decode_tree(tree({"name": "a"} | fields))


@pytest.mark.parametrize(
    "plain", [b"", b"[]", b"{}", b'{"nodes":[1]}', b'{"nodes":5}', b"\xff", b"[" * 99_999]
)
def test_what_is_no_tree_is_damage(plain: bytes) -> None:
    with pytest.raises(Damaged):
        decode_tree(plain)


def test_unknown_fields_and_old_trees_are_read() -> None:
    assert decode_tree(tree({"name": "a", "new": 1}))[0].name == b"a"
    assert decode_tree(b'{"nodes":null}') == []


@pytest.mark.parametrize(
    ("linux", "go"),
    [
        (stat.S_IFREG | 0o644, 0o644),
        (stat.S_IFREG | 0o6755, 1 << 23 | 1 << 22 | 0o755),
        (stat.S_IFDIR | 0o1777, 1 << 31 | 1 << 20 | 0o777),
        (stat.S_IFLNK | 0o777, 1 << 27 | 0o777),
        (stat.S_IFBLK, 1 << 26),
        (stat.S_IFCHR | 0o600, 1 << 26 | 1 << 21 | 0o600),
        (stat.S_IFIFO, 1 << 25),
        (stat.S_IFSOCK, 1 << 24),
    ],
)
def test_modes_are_gos_and_linuxs(linux: int, go: int) -> None:
    assert modes.from_linux(linux) == go
    assert modes.to_linux(go) == linux
