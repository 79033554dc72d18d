"""Trees that become folders: what is asked for, and nothing that hostile ones ask for."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convoy_py.restic.chunks import CHUNK
from convoy_py.restic.errors import Damaged, NotFound
from convoy_py.restic.nodes import Node, encode_tree
from convoy_py.restic.packs import BlobKind
from convoy_py.restic.repository import Repository
from convoy_py.restic.restorer import Limits, find, restore
from convoy_py.restic.writer import Writer
from tests.archiving import archived, ignore, restored
from tests.facts import facts
from tests.fakes_restic import MemoryStore

MIB = 1 << 20

_LIMITS = Limits()

Saved = Callable[[BlobKind, bytes], bytes]


@pytest.fixture
def saved(repository: Repository) -> Saved:
    """Stores a blob durably, whatever is in it."""

    def save(kind: BlobKind, data: bytes) -> bytes:
        with Writer(repository) as writer:
            name = writer.save(kind, data)
            writer.flush()
        return name

    return save


@pytest.fixture
def restored_from(repository: Repository, saved: Saved, target: Path) -> Callable[..., None]:
    """Restores a folder with these nodes, as a tree has them, into the target."""

    def go(*nodes: Node | dict[str, Any], limits: Limits = _LIMITS) -> None:
        plain = [_fields(node) if isinstance(node, Node) else node for node in nodes]
        tree = saved(BlobKind.TREE, json.dumps({"nodes": plain}).encode())
        folder = Node(name=b"data", type="dir", mode=0o755, uid=os.getuid(), subtree=tree)
        restore(repository, folder, target, ignore, limits=limits)

    return go


def _fields(node: Node) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(encode_tree([node]))["nodes"][0]
    return fields


def node(kind: str = "file", name: bytes = b"it", **fields: Any) -> Node:
    """One that can be made, but for what is given."""
    given: dict[str, Any] = {"uid": os.getuid(), "gid": os.getgid(), **fields}
    if kind == "file":
        given.setdefault("content", [])
    return Node(name=name, type=kind, mode=0o644, **given)


def around(target: Path) -> list[str]:
    return sorted(str(path) for path in target.parent.rglob("*") if target not in path.parents)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../out", "/tmp/out", "in/it", "it\0", "..\\x2fout", "\\x2e\\x2e"]
)
def test_name_that_leads_elsewhere_is_damage(
    restored_from: Callable[..., None], target: Path, name: str
) -> None:
    before = around(target)
    with pytest.raises(Damaged):
        restored_from(_fields(node()) | {"name": name})
    assert list(target.iterdir()) == []
    assert around(target) == before


@pytest.mark.parametrize("kind", ["file", "dir", "symlink"])
def test_link_of_the_tree_leads_nowhere(
    restored_from: Callable[..., None], saved: Saved, target: Path, kind: str
) -> None:
    """A link out of it, and then something of the same name that were to be made through it."""
    outside = target.parent / "outside"
    outside.mkdir()
    inner = saved(BlobKind.TREE, encode_tree([node(name=b"new")]))
    more = {"dir": {"subtree": inner}, "symlink": {"target": b"x"}}.get(kind, {})
    link = node("symlink", target=os.fsencode(outside))
    with pytest.raises(Damaged, match="twice"):
        restored_from(link, node(kind, **more))
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("links", [2, 3, 9])
def test_further_name_of_a_link_is_none_of_what_it_leads_to(
    restored_from: Callable[..., None], target: Path, links: int
) -> None:
    outside = target.parent / "outside"
    outside.write_bytes(b"kept")
    link: dict[str, Any] = {"target": os.fsencode(outside), "links": links, "inode": 7}
    restored_from(*(node("symlink", b"%d" % i, **link) for i in range(3)))
    assert outside.stat().st_nlink == 1
    assert [path.is_symlink() for path in target.iterdir()] == [True] * 3


def test_further_name_of_a_file_may_be_told_of_a_link(
    restored_from: Callable[..., None], target: Path
) -> None:
    """It is what the first one is, and what the link led to stays as it is."""
    outside = target.parent / "outside"
    outside.write_bytes(b"kept")
    linked: dict[str, Any] = {"links": 2, "inode": 7}
    restored_from(
        node("symlink", b"a", target=os.fsencode(outside), **linked), node(name=b"b", **linked)
    )
    assert outside.read_bytes() == b"kept"
    assert [(target / name).read_bytes() for name in "ab"] == [b"", b""]


@pytest.mark.parametrize(
    "impossible",
    [
        node(name=b"n" * 256),
        node(uid=2**32 - 1),
        node(gid=2**40),
        node(size=2**63),
        node("symlink"),
        node("symlink", target=b"a\0b"),
        node(target=b"x"),
        node(xattrs={b"user.a\0b": b""}),
        node("dir"),
        node("dev", device=1),
        node("chardev"),
        node(size=1),
    ],
)
def test_file_that_cannot_be_is_damage(
    restored_from: Callable[..., None], impossible: Node
) -> None:
    with pytest.raises(Damaged):
        restored_from(impossible)


def test_length_that_is_not_that_of_the_blobs_is_damage(
    restored_from: Callable[..., None], saved: Saved
) -> None:
    blob = saved(BlobKind.DATA, b"data")
    with pytest.raises(Damaged, match="it has not the 7 bytes that are told"):
        restored_from(node(content=[blob, blob], size=7))


def test_blob_that_is_missing_is_told(restored_from: Callable[..., None]) -> None:
    with pytest.raises(NotFound, match="no pack has the data blob"):
        restored_from(node(content=[bytes(32)], size=4))


def test_tree_within_itself_is_damage(
    repository: Repository, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No hash allows that; the depth is bounded all the same."""
    inner = node("dir", b"d", subtree=bytes(32))
    monkeypatch.setattr(repository, "read_tree", lambda _: [inner])
    with pytest.raises(Damaged, match="more than 50 folders deep"):
        restore(repository, inner, target, ignore, limits=Limits(depth=50))


def test_few_trees_that_would_be_many_folders_are_damage(
    restored_from: Callable[..., None], saved: Saved
) -> None:
    """Each of them has the next one a hundred times."""
    tree = saved(BlobKind.TREE, encode_tree([]))
    for _ in range(10):
        folders = [node("dir", b"%d" % i, subtree=tree) for i in range(100)]
        tree = saved(BlobKind.TREE, encode_tree(folders))
    with pytest.raises(Damaged, match="more than 1000 files"):
        restored_from(node("dir", subtree=tree), limits=Limits(entries=1000))


def test_few_blobs_that_would_be_many_bytes_are_damage(
    restored_from: Callable[..., None], saved: Saved, target: Path
) -> None:
    blob = saved(BlobKind.DATA, b"x" * MIB)
    with pytest.raises(Damaged, match="more than 3145728 bytes"):
        restored_from(node(content=[blob] * 1000, size=MIB * 1000), limits=Limits(bytes=3 * MIB))


def test_gigabyte_of_names_is_damage(restored_from: Callable[..., None]) -> None:
    """Of a folder with more names than are allowed nothing is made."""
    folder = [node(name=b"%0255d" % i) for i in range(2000)]
    with pytest.raises(Damaged, match="more than 1999 files"):
        restored_from(*folder, limits=Limits(entries=1999))


def test_target_that_is_not_empty_is_not_written_over(
    restored_from: Callable[..., None], target: Path
) -> None:
    (target / "it").write_bytes(b"kept")
    with pytest.raises(FileExistsError, match=str(target / "it")):
        restored_from(node())
    assert (target / "it").read_bytes() == b"kept"


@pytest.mark.parametrize("path", ["file", "folder/below/program", "folder", "absolute"])
def test_one_path_alone_is_restored(
    repository: Repository, source: Path, target: Path, path: str
) -> None:
    """With all that is in it, and with the folders on the way as they were."""
    tree = archived(repository, source).tree
    restored(repository, tree, target, only=tuple(map(os.fsencode, path.split("/"))))
    found, wanted = facts(target), facts(source)
    parents = [str(above) for above in Path(path).parents]
    assert set(found) == {
        name for name in wanted if name == path or name.startswith(f"{path}/") or name in parents
    }
    for name, fact in found.items():
        assert fact._replace(first_name="") == wanted[name]._replace(first_name="")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nothing", "the snapshot has no nothing"),
        ("folder/nothing/below", "the snapshot has no folder/nothing"),
        ("file/below", "in the snapshot file is no folder"),
    ],
)
def test_path_that_is_not_there_is_told(
    repository: Repository, source: Path, target: Path, path: str, reason: str
) -> None:
    tree = archived(repository, source).tree
    names = tuple(map(os.fsencode, path.split("/")))
    with pytest.raises(NotFound, match=reason):
        restored(repository, tree, target, only=names)
    data = find(repository, tree, [b"data"]).subtree
    assert data is not None
    with pytest.raises(NotFound, match=reason):
        find(repository, data, names)


def test_packs_are_read_in_few_pieces(
    repository: Repository, store: MemoryStore, tmp_path: Path, target: Path
) -> None:
    """A thousand files are not a thousand reads."""
    top = tmp_path / "top"
    top.mkdir()
    for number in range(1000):
        (top / str(number)).write_bytes(os.urandom(1000))
    tree = archived(repository, top).tree
    store.calls.clear()
    done = restored(repository, tree, target)
    assert (done.files, done.dirs, done.bytes) == (1000, 1, 1_000_000)
    assert sum(verb == "read_range" for verb, _, _ in store.calls) < 10
    assert facts(target) == facts(top)


def test_content_larger_than_what_is_fetched_at_once(
    repository: Repository, tmp_path: Path, target: Path
) -> None:
    """Files of several names and of one, and one blob that is everywhere."""
    top, same = tmp_path / "top", os.urandom(CHUNK)
    (top / "sub").mkdir(parents=True)
    for number in range(4):
        with (top / str(number)).open("wb") as file:
            for _ in range(20):
                file.write(same + os.urandom(CHUNK))
        os.link(top / str(number), top / f"sub/{number}")
    tree = archived(repository, top).tree
    restored(repository, tree, target)
    assert facts(target) == facts(top)


@pytest.mark.parametrize("zeros", [(), (0,), (1,), (0, 1)], ids=str)
def test_zeros_are_holes_wherever_they_are(
    restored_from: Callable[..., None], saved: Saved, target: Path, zeros: tuple[int, ...]
) -> None:
    """At the end of the file, too, which is as long as it was."""
    chunks = [bytes(CHUNK) if at in zeros else b"x" * CHUNK for at in range(2)]
    content = [saved(BlobKind.DATA, chunk) for chunk in chunks]

    restored_from(node(size=2 * CHUNK, content=content))

    assert (target / "it").read_bytes() == b"".join(chunks)
    assert (target / "it").stat().st_blocks * 512 <= (2 - len(zeros)) * CHUNK


def test_damaged_blob_fails_the_restore(
    repository: Repository, store: MemoryStore, source: Path, target: Path
) -> None:
    """Whatever bit of a pack it is."""
    tree = archived(repository, source).tree
    name = hashlib.sha256(b"content" * 1000).digest()
    pack, blob = repository.index.place(BlobKind.DATA, name)
    [key] = [key for key in store.files if key[1] == pack.hex()]
    stored = bytearray(store.files[key])
    stored[blob.offset + blob.length // 2] ^= 1
    store.files[key] = bytes(stored)
    with pytest.raises(Damaged):
        restored(repository, tree, target)


def test_what_tell_raises_stops_the_restore(
    repository: Repository, source: Path, target: Path
) -> None:
    class Stopped(Exception):
        pass

    def stop(_done: object) -> None:
        raise Stopped

    tree = archived(repository, source).tree
    with pytest.raises(Stopped):
        restored(repository, tree, target, stop)
