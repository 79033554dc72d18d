"""Trees that are taken over: just what the folder would become again, if all of it is there."""

from pathlib import Path

import pytest

from convoy_py.restic.archive import DATA, Archived
from convoy_py.restic.nodes import Node, encode_tree
from convoy_py.restic.packs import BlobKind
from convoy_py.restic.repository import Repository
from convoy_py.restic.restorer import find
from convoy_py.restic.takeover import taken_over
from convoy_py.restic.writer import Writer
from tests.archiving import VOLUME, archived, ignore
from tests.fakes_restic import MemoryStore


def taken(repository: Repository, tree: bytes, beside: bytes = VOLUME) -> Archived | None:
    with Writer(repository) as writer:
        found = taken_over(tree, {b"volume.json": beside}, repository, writer, ignore)
        writer.flush()
    return found


def test_it_is_what_the_folder_becomes_that_did_not_change(
    repository: Repository, store: MemoryStore, source: Path
) -> None:
    """Counted alike, files of several names too, and nothing is stored."""
    tree = archived(repository, source).tree
    read = archived(repository, source, previous=tree, changes=lambda *_: ())
    files = dict(store.files)
    assert taken(repository, tree) == read
    assert store.files == files


def test_what_stands_beside_it_is_stored_anew(repository: Repository, source: Path) -> None:
    tree = archived(repository, source).tree
    found = taken(repository, tree, b"another")
    assert found
    assert find(repository, found.tree, [DATA]) == find(repository, tree, [DATA])
    node = find(repository, found.tree, [b"volume.json"])
    assert [repository.read_blob(BlobKind.DATA, name) for name in node.content or ()] == [
        b"another"
    ]


@pytest.mark.parametrize(
    "broken",
    [
        Node(name=b"file", type="file", size=1, content=[bytes(32)]),
        Node(name=b"file", type="file", size=1, content=[]),
        Node(name=b"file", type="file"),
        Node(name=b"folder", type="dir", subtree=bytes(32)),
        Node(name=b"folder", type="dir"),
    ],
    ids=["no such blob", "too short", "no content", "no such tree", "no tree"],
)
def test_what_is_not_all_there_has_to_be_read(repository: Repository, broken: Node) -> None:
    """The next backup mends what it can, which this could not."""
    with Writer(repository) as writer:
        below = writer.save(BlobKind.TREE, encode_tree([broken]))
        top = Node(name=DATA, type="dir", subtree=below)
        tree = writer.save(BlobKind.TREE, encode_tree([top]))
        writer.flush()
    assert taken(repository, tree) is None


def test_tree_of_something_else_is_not_taken_over(repository: Repository) -> None:
    with Writer(repository) as writer:
        tree = writer.save(BlobKind.TREE, encode_tree([Node(name=b"image", type="file")]))
        writer.flush()
    assert taken(repository, tree) is None
    assert taken(repository, bytes(32)) is None
