"""Which blobs the snapshots of a repository need: all that can be reached from their trees."""

from collections.abc import Callable, Collection

from convoy_py.restic.errors import Damaged, NotFound
from convoy_py.restic.nodes import Node
from convoy_py.restic.packs import BlobKind
from convoy_py.restic.repository import Repository

Tell = Callable[[int, int], None]
"""Is told how many snapshots were looked at, and of how many; what it raises stops it."""


class Needed:
    """The blobs that snapshots need, by their numbers in the index, which stays as it is.

    What cannot be read is Damaged, whatever it is: who deletes the rest has to know all of it.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._index = repository.index
        self._index.settle()
        self._marks = bytearray(self._index.count)

    def __contains__(self, number: int) -> bool:
        return bool(self._marks[number])

    def add(self, snapshots: Collection[str], tell: Tell) -> None:
        """All that these need."""
        for done, name in enumerate(snapshots):
            tell(done, len(snapshots))
            try:
                self._add_below(self._repository.read_snapshot(name).tree)
            except (Damaged, NotFound) as error:
                raise Damaged(f"snapshot {name[:8]}: {error}") from None

    def _add_below(self, top: bytes) -> None:
        way = [top]
        while way:
            tree = way.pop()
            if not self._mark(BlobKind.TREE, tree):
                continue
            for node in self._repository.read_tree(tree):
                for blob in _content(tree, node):
                    self._mark(BlobKind.DATA, blob)
                if node.subtree is not None:
                    way.append(node.subtree)

    def _mark(self, kind: BlobKind, name: bytes) -> bool:
        """Whether it was not known to be needed."""
        number = self._index.number(kind, name)
        known, self._marks[number] = self._marks[number], 1
        return not known


def _content(tree: bytes, node: Node) -> list[bytes]:
    """What a node names; one that has to name something and does not is Damaged."""
    if (node.type == "dir" and node.subtree is None) or (
        node.type == "file" and node.content is None
    ):
        raise Damaged(f"tree {tree.hex()}: a {node.type} does not say what is in it")
    return node.content or []
