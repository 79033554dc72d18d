"""A folder in which nothing changed: its tree is taken over, and no file looked at."""

from collections.abc import Iterator, Mapping

from convoy_py.restic.archive import DATA, Archived, rooted
from convoy_py.restic.contents import Contents, Tell
from convoy_py.restic.errors import Damaged, NotFound
from convoy_py.restic.nodes import Node
from convoy_py.restic.repository import Repository
from convoy_py.restic.writer import Writer


def taken_over(
    previous: bytes,
    beside: Mapping[bytes, bytes],
    repository: Repository,
    writer: Writer,
    tell: Tell,
) -> Archived | None:
    """What `archive` would make of the folder from which it made the `previous` tree.

    None if the repository has not all of that any more: then it has to be read.
    """
    contents = Contents(repository, writer, tell)
    counters = contents.counters
    linked: set[int] = set()  # files of several names, of which one was seen
    try:
        top = next(node for node in repository.read_tree(previous) if node.name == DATA)
        for node in _from(top, repository):
            if node.type == "file" and node.inode not in linked:
                if node.content is None or not contents.has(node.content, node.size):
                    return None
                counters.bytes_processed += node.size
            if node.inode:
                linked.add(node.inode)
            counters.count(node, node)
            tell(counters)
    except (Damaged, NotFound, StopIteration):
        return None
    return Archived(rooted(top, beside, writer, counters), counters)


def _from(top: Node, repository: Repository) -> Iterator[Node]:
    """A folder and all that is below it."""
    way = [top]
    while way:
        node = way.pop()
        yield node
        if node.type == "dir":
            if node.subtree is None:
                raise Damaged(f"{node.name!r}: a folder does not say what is in it")
            way += repository.read_tree(node.subtree)[::-1]
