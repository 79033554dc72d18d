"""restic reads what we write as its own, we read what it writes, and both use one repository."""

import os
import random
import re
import stat
import textwrap
from pathlib import Path

import pytest

import convoy_py.restic as package
from convoy_py.restic import keyfiles, modes
from convoy_py.restic.locks import Locks
from convoy_py.restic.nodes import Node, encode_tree
from convoy_py.restic.packs import BlobKind
from convoy_py.restic.repository import Repository
from convoy_py.restic.snapshots import Snapshot
from convoy_py.restic.stores.local import LocalStore
from convoy_py.restic.writer import Writer
from tests.fakes_restic import NOW, QUICK, new_repository
from tests.restic import Restic

DATA, TREE = BlobKind.DATA, BlobKind.TREE
MTIME = 1_700_000_000_123_456_789
CHUNK = 512 << 10
ODD = [
    b"caf\xe9 \xff",
    "grün ☺ \U0001f600".encode(),
    b'"quoted" \\ <&> \a\n\t\x7f',
    "\u2028\u202e\u00a0\u00ad\ufffd".encode(),
    b"-",
    b"x" * 255,
]


def node(name: bytes, kind: str, mode: int) -> Node:
    """An entry that belongs to whoever runs the tests, so that restic may restore it so."""
    uid, gid = os.getuid(), os.getgid()
    return Node(name, kind, modes.from_linux(mode), MTIME, MTIME, MTIME, uid=uid, gid=gid)


def saved(writer: Writer, files: dict[bytes, bytes]) -> bytes:
    """A tree with a folder `data`, in it these files, an empty folder and a link."""
    nodes = []
    for name, content in files.items():
        file = node(name, "file", stat.S_IFREG | 0o640)
        chunks = [content[at : at + CHUNK] for at in range(0, len(content), CHUNK)]
        file.content, file.size = [writer.save(DATA, chunk) for chunk in chunks], len(content)
        nodes.append(file)
    link = node(b"link", "symlink", stat.S_IFLNK | 0o777)
    link.target, link.links = b"some/where", 1
    empty = node(b"empty", "dir", stat.S_IFDIR | 0o1750)
    empty.subtree = writer.save(TREE, encode_tree([]))
    top = node(b"data", "dir", stat.S_IFDIR | 0o750)
    top.subtree = writer.save(TREE, encode_tree([*nodes, link, empty]))
    return writer.save(TREE, encode_tree([top]))


def committed(repository: Repository, files: dict[bytes, bytes]) -> Snapshot:
    with Writer(repository, pack_size=1 << 20) as writer:
        summary = {
            "backup_start": NOW.isoformat(),
            "backup_end": NOW.isoformat(),
            "total_files_processed": len(files),
            "total_bytes_processed": sum(map(len, files.values())),
        }
        return writer.commit(
            Snapshot(
                time=NOW,
                tree=saved(writer, files),
                paths=("/convoy/db",),
                hostname="host",
                tags=("nightly", "ours"),
                program_version="convoy",
                summary=summary,
            )
        )


@pytest.fixture
def files() -> dict[bytes, bytes]:
    """Odd names, and contents that shrink, do not, repeat, or are nothing."""
    contents = [b"", b"x", bytes(2 * CHUNK), os.urandom(3 * CHUNK + 5), b"words " * 300_000]
    return {name: contents[n % len(contents)] for n, name in enumerate(ODD)}


def every_tree(repository: Repository, root: bytes) -> dict[bytes, list[Node]]:
    """All trees below one, read."""
    trees = {root: repository.read_tree(root)}
    for entry in trees[root]:
        if entry.subtree:
            trees |= every_tree(repository, entry.subtree)
    return trees


def content(repository: Repository, entry: Node) -> bytes:
    return b"".join(repository.read_blob(DATA, name) for name in entry.content or [])


def found(repository: Repository, snapshot: Snapshot) -> dict[bytes, Node]:
    """All entries of a snapshot by name; the tests' names are unique."""
    trees = every_tree(repository, snapshot.tree).values()
    return {entry.name: entry for nodes in trees for entry in nodes}


def test_restic_takes_what_we_wrote_for_its_own(
    restic: Restic, store: LocalStore, files: dict[bytes, bytes], tmp_path: Path
) -> None:
    snapshot = committed(new_repository(store), files)

    restic.check()
    restic.finds_nothing_to_mend()
    [told] = restic.json("snapshots")
    assert told["id"] == snapshot.id
    assert (told["hostname"], told["tags"]) == ("host", ["nightly", "ours"])
    restic.run("restore", snapshot.id, "--target", tmp_path / "restored")

    top = os.fsencode(tmp_path) + b"/restored/data"
    for name, expected in files.items():
        path = top + b"/" + name
        assert Path(os.fsdecode(path)).read_bytes() == expected
        assert os.stat(path).st_mtime_ns == MTIME
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o640
    assert os.readlink(top + b"/link") == b"some/where"
    assert stat.S_IMODE(os.stat(top + b"/empty").st_mode) == 0o1750
    assert set(os.listdir(top)) == {*files, b"link", b"empty"}


@pytest.fixture
def source(restic: Restic, tmp_path: Path) -> Path:
    """A folder with all that a filesystem can hold and restic writes."""
    top = tmp_path / "source"
    top.mkdir()
    for name in ODD:
        Path(os.fsdecode(os.fsencode(top) + b"/" + name)).write_bytes(name)
    (top / "random").write_bytes(random.Random(1).randbytes(5 << 20))
    with (top / "sparse").open("wb") as file:
        file.truncate(3 << 20)
    (top / "none").touch()
    os.link(top / "random", top / "again")
    os.symlink("random", top / "link")
    if restic.is_newest:  # the older ones have no place for it
        os.symlink(b"\xff\xfe/<\b>", os.fsencode(top) + b"/bad link")
    os.mkfifo(top / "fifo")
    os.setxattr(top / "none", "user.empty", b"")
    os.setxattr(top / "none", "user.grün <&>", b"\0\xff")
    os.chmod(top / "none", 0o6755)
    os.utime(top / "none", ns=(-1, -1_500_000_000))
    (top / "folder" / "deep").mkdir(parents=True, mode=0o1777)
    return top


@pytest.mark.parametrize("version", ["repository of restic", "repository of ours"])
def test_what_restic_wrote_is_read_and_written_the_same(
    restic: Restic, store: LocalStore, source: Path, version: str
) -> None:
    if version == "repository of ours":
        new_repository(store)
    else:
        restic.init()
    restic.run("backup", source)

    repository = Repository.open(store, "right")
    [snapshot] = repository.snapshots()
    for name, nodes in every_tree(repository, snapshot.tree).items():
        assert encode_tree(nodes) == repository.read_blob(TREE, name)
    entries = found(repository, snapshot)
    for name in ODD:
        assert content(repository, entries[name]) == name
    for path in (source / "random", source / "again", source / "sparse", source / "none"):
        assert content(repository, entries[os.fsencode(path.name)]) == path.read_bytes()
    for path in source.iterdir():
        seen, entry = path.lstat(), entries[os.fsencode(path.name)]
        assert modes.to_linux(entry.mode) == seen.st_mode
        assert entry.mtime == seen.st_mtime_ns
        assert entry.size == (seen.st_size if stat.S_ISREG(seen.st_mode) else 0)
    assert entries[b"none"].xattrs == {
        os.fsencode(name): os.getxattr(source / "none", name)
        for name in os.listxattr(source / "none")
    }
    assert entries[b"again"].inode == entries[b"random"].inode
    assert entries[b"link"].target == b"random"
    if restic.is_newest:
        assert entries[b"bad link"].target == b"\xff\xfe/<\b>"


@pytest.mark.root
def test_devices_are_read_and_written_the_same(
    restic: Restic, store: LocalStore, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    os.mknod(source / "block", stat.S_IFBLK | 0o660, os.makedev(7, 300))
    os.mknod(source / "character", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    restic.init()
    restic.run("backup", source)

    repository = Repository.open(store, "right")
    [snapshot] = repository.snapshots()
    entries = found(repository, snapshot)

    for name, nodes in every_tree(repository, snapshot.tree).items():
        assert encode_tree(nodes) == repository.read_blob(TREE, name)
    for path in source.iterdir():
        entry, seen = entries[os.fsencode(path.name)], path.lstat()
        assert (entry.device, modes.to_linux(entry.mode)) == (seen.st_rdev, seen.st_mode)


def test_characters_are_escaped_as_the_newest_restic_does(tmp_path: Path) -> None:
    """Each fiftieth of Unicode and both sides of wherever Python changes its mind."""
    source = tmp_path / "source"
    source.mkdir()
    prints = [chr(code).isprintable() for code in range(0x110000)]
    codes = {code for code in range(1, 0x110000) if prints[code] != prints[code - 1]}
    codes |= {code - 1 for code in codes} | set(range(1, 0x32500, 50))
    chosen = [chr(code) for code in sorted(codes) if code and not 0xD800 <= code < 0xE000]
    for at in range(0, len(chosen), 50):
        characters = "".join(chosen[at : at + 50]).replace("/", "")
        (source / f"{at:06}{characters}").touch()
    restic = Restic("restic-newest", tmp_path / "repository")
    restic.init()
    restic.run("backup", source)

    repository = Repository.open(LocalStore(restic.repository), "right")
    [snapshot] = repository.snapshots()

    for name, nodes in every_tree(repository, snapshot.tree).items():
        assert encode_tree(nodes) == repository.read_blob(TREE, name)


def test_both_back_up_into_one_repository(
    restic: Restic, store: LocalStore, source: Path, files: dict[bytes, bytes]
) -> None:
    restic.init(cheap=True)
    restic.run("backup", source)
    repository = Repository.open(store, "right")
    ours = committed(repository, files)
    (source / "late").write_bytes(b"late")
    restic.run("backup", source)
    restic.check()
    restic.finds_nothing_to_mend()

    first, second = (s for s in Repository.open(store, "right").snapshots() if s.id != ours.id)
    restic.run("forget", first.id, "--prune")
    restic.check()

    repository = Repository.open(store, "right")
    assert {s.id for s in repository.snapshots()} == {ours.id, second.id}
    entries = found(repository, ours)
    assert {name: content(repository, entries[name]) for name in files} == files
    assert content(repository, found(repository, second)[b"late"]) == b"late"


def test_what_restic_pruned_is_forgotten_and_stored_again(
    restic: Restic, store: LocalStore, files: dict[bytes, bytes]
) -> None:
    repository = new_repository(store)
    gone = committed(repository, files)
    restic.run("forget", gone.id, "--prune")

    again = committed(repository, files)

    restic.check()
    entries = found(Repository.open(store, "right"), again)
    assert {name: content(repository, entries[name]) for name in files} == files


def test_keys_of_either_open_in_the_other(
    restic: Restic, store: LocalStore, tmp_path: Path
) -> None:
    restic.init()
    repository = Repository.open(store, "right")
    ours = keyfiles.add(store, repository.master_key, "ours", NOW, QUICK)
    (tmp_path / "theirs").write_text("thëirs")
    restic.run("key", "add", "--new-password-file", tmp_path / "theirs")

    assert Repository.open(store, "thëirs").id == repository.id
    other = Restic(restic.binary, restic.repository, "ours")
    assert {key["id"][:8] for key in other.json("key", "list")} == {
        key.id[:8] for key in keyfiles.every(store)
    }
    other.run("check")
    keyfiles.remove(store, ours)
    assert len(restic.json("key", "list")) == 2


def test_the_example_of_the_package_works(restic: Restic, store: LocalStore) -> None:
    example = re.search(
        r"^    store = .*?\n(?=\n\S)", package.__doc__ or "", re.DOTALL | re.MULTILINE
    )
    assert example
    names: dict[str, object] = {
        "Node": Node,
        "BlobKind": BlobKind,
        "LocalStore": LocalStore,
        "Locks": Locks,
        "Repository": Repository,
        "Snapshot": Snapshot,
        "Writer": Writer,
        "encode_tree": encode_tree,
        "folder": restic.repository,
        "now": NOW,
    }

    exec(textwrap.dedent(example[0]), names)

    assert names["content"] == b"hello!"
    restic = Restic(restic.binary, restic.repository, "password")
    restic.check()
    assert restic.run("dump", "latest", "/motd").endswith("hello!")
