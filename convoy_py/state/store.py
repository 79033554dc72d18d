"""Keeps the volume records: one folder per volume, and the folder is the database.

<root>/lock                     flock: one daemon per root on one host
<root>/volumes/<name>/          volume.json beside the backend's data
<root>/volumes/<name>/clones/   private clones, by a key of the mount ID
<root>/volumes/.new-<id>/       being built; no volume can be called so; of one that is to take
                                the place of another `.new-<id>.<that one's key in the trash>`
<root>/trash/rm-<id>/           being deleted; what is kept there is state/trash.py's
<root>/ballast/                 room for a full disk: state/ballast.py

Create = build under `.new-*`, fsync, rename, fsync the parent. Remove = rename away, then delete.
There is no moment at which a crash leaves half a volume under a volume's name.
"""

import errno
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from convoy_py.errors import (
    AlreadyExists,
    Corrupt,
    Invalid,
    RootLocked,
    Unavailable,
    Unsettled,
    Unsupported,
    failed,
)
from convoy_py.linux import files
from convoy_py.models.claims import Mode
from convoy_py.models.names import is_valid_name
from convoy_py.models.volume import Spec
from convoy_py.state.ballast import Ballast, relieved
from convoy_py.state.claims import RECORD, IsKnown, PlainRecords, Records, SharedRecords
from convoy_py.state.formats import Newer, Unreadable
from convoy_py.state.presence import Presence
from convoy_py.state.records import RESTORE, VOLUME, Record, Restore, decode, encode

# What `delete --reference` makes of the record, so that adopting finds the old options again.
KEPT = "kept.json"
# Which file of a volume is not to stay if the restoring of another is cut off.
RESTORING = "restoring.json"
RUNS_FILE = "runs.json"
SNAPSHOTS = "snapshots"
CLONES = "clones"
STAGING = ".new-"
DELETED = "rm-"
HOSTS = "hosts"  # of a shared root: state/hosts.py's


class Store:
    """The records below one root. Methods do disk I/O and run in worker threads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.volumes = root / "volumes"
        self.trash = root / "trash"
        # Where lies, and how is called, what is this daemon's alone; of a shared root see `share`.
        self.notes = root
        self.mark = ""
        self.records: Records = PlainRecords()
        self.exchanges = True  # whether two names can trade places
        self.ballast = Ballast(root)
        self.presence = Presence(root, self.volumes)
        self._who, self._is_shared = "", False
        self._lock: int | None = None
        self.failure = ""  # why nothing may be changed any more

    def open(self, who: str, *, shared: bool = False) -> None:
        """Make the folders and take the root's lock; `who` is told to whoever comes second.

        Raises RootLocked, naming who has it; Invalid if it is shared and this daemon is not.
        """
        if not shared and (self.root / HOSTS).exists():
            raise Invalid(
                f"the root {self.root} is shared by several hosts (it has a folder {HOSTS}): start "
                "the daemon with --shared"
            )
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            lock = files.lock_file(self.root / "lock", who, shared=shared)
        except BlockingIOError as error:
            raise RootLocked(str(self.root), error.strerror or "unknown") from None
        self.close()
        self._lock, self._who, self._is_shared = lock, who, shared
        for folder in (self.volumes, self.trash):
            self.ballast.relieve(partial(folder.mkdir, mode=0o700, exist_ok=True))
        self.presence.pin()

    def share(
        self, mark: str, notes: Path, records: SharedRecords, *, exchanges: bool = True
    ) -> None:
        """Be one host of several on this root, whose own notes lie in a folder of its own.

        What it builds or deletes bears its mark, so that no other host takes it for a leftover.
        """
        self.mark, self.notes, self.records, self.exchanges = mark, notes, records, exchanges
        self.ballast = Ballast(self.root, pieces=0)  # whose disk is full, and of what, nobody knows
        # What was made before the root was shared may be mounted here.
        for name in filter(is_valid_name, os.listdir(self.volumes)):  # noqa: PTH208 - names
            home = self.home(name)
            with suppress(FileNotFoundError):
                if not records.has(home):
                    records.make(home, (home / RECORD).read_bytes())
        for _, home in self.trashed():
            with suppress(FileNotFoundError):
                if not records.has(home):
                    records.make(home, (home / RECORD).read_bytes(), Mode.GONE)

    def refuse_shared(self, what: str) -> None:
        """Raise Unsupported on a shared root, for what would go past the claims."""
        if self.mark:
            raise Unsupported(f"{what} is not possible on a shared root ({self.root})")

    def refuse_without_exchange(self, what: str) -> None:
        """Raise Unsupported where two names cannot trade places at once."""
        if not self.exchanges:
            raise Unsupported(f"{what} is not possible on the filesystem of {self.root}")

    def reopen(self) -> None:
        """Take what lies at the root's path now instead of what was opened; as `open`."""
        self.open(self._who, shared=self._is_shared)
        self.failure = ""  # it was another disk's

    def is_hidden(self, known: Mapping[str, str]) -> bool:
        """Whether what was opened, with all that is `known`, lies beneath a shared root.

        That may be a disk which is yet to become one, unless something would be given up for it.
        """
        is_root = (self.root / HOSTS).is_dir() or (not known and self.root.is_dir())
        return is_root and self.presence.is_covered()

    def may_take_over(self, known: Mapping[str, str]) -> bool:
        """Whether what lies at the root's path now is a root to go on with.

        It is if all that is `known`, uuids by name, is there; or if it was mounted over what was
        locked, which then was the bare folder beneath: but for an empty disk nothing is given up.
        """
        is_covered = self.presence.is_covered()
        if not self.volumes.is_dir():
            return is_covered and not known and self.root.is_dir()
        found = {
            name: record.uuid for name, record in self.load().items() if isinstance(record, Record)
        }
        return is_covered or found.items() >= known.items()

    def fill_ballast(self) -> None:
        """Make what is missing of the ballast, see there."""
        if self.presence.look():
            self.ballast.fill()

    def close(self) -> None:
        self.presence.unpin()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def home(self, name: str) -> Path:
        return self.volumes / name

    def clone_home(self, name: str, key: str) -> Path:
        """Where the private clone that one mount has of a volume lies."""
        return self.home(name) / CLONES / key

    def clones(self, name: str) -> list[str]:
        """The keys of a volume's private clones."""
        try:
            return sorted(path.name for path in (self.home(name) / CLONES).iterdir())
        except FileNotFoundError:
            return []

    def load(self) -> dict[str, Record | Unreadable]:
        """Every volume with its record, or why that cannot be read. Changes nothing."""
        found: dict[str, Record | Unreadable] = {}
        specs: dict[Spec, Spec] = {}  # of thousands most are the same, and kept once
        with os.scandir(self.volumes) as entries:
            for entry in entries:
                if not is_valid_name(entry.name) or not entry.is_dir(follow_symlinks=False):
                    continue
                record = self.find(entry.name)
                if isinstance(record, Record):
                    spec = specs.setdefault(record.spec, record.spec)
                    found[entry.name] = record.model_copy(update={"spec": spec})
                elif record is not None:
                    found[entry.name] = record
        return found

    def find(self, name: str) -> Record | Unreadable | None:
        """A volume's record, or why it cannot be read; None if there is no such volume."""
        home = self.home(name)
        try:
            return None if self.records.is_gone(home) else self.read(name)
        except FileNotFoundError:
            if not home.exists() or (home / KEPT).exists():
                return None
            return Unreadable(
                f"{home / RECORD} is missing; take over the data with "
                f"`convoy create --adopt {name}`"
            )
        except Unreadable as problem:
            return problem
        except Unavailable as problem:
            return Unreadable(str(problem))  # its claim does not tell which record counts

    def trashed(self) -> Iterator[tuple[str, Path]]:
        """(name, home) of everything in the trash."""
        with os.scandir(self.trash) as entries:
            for entry in entries:
                name, _, _ = entry.name.rpartition(".")  # none in what is being deleted
                if is_valid_name(name) and entry.is_dir(follow_symlinks=False):
                    yield name, self.trash / entry.name

    def gone(self) -> list[tuple[Path, Record]]:
        """(home, record) of what this host of a shared root removed, and is not in the trash."""
        found: list[tuple[Path, Record]] = []
        if not self.mark:
            return found
        for name in filter(is_valid_name, os.listdir(self.volumes)):  # noqa: PTH208 - names
            home = self.home(name)
            with suppress(FileNotFoundError, Unreadable):
                if self.records.is_left(home):
                    found.append((home, self.read(name)))
        return found

    def has_record(self, name: str) -> bool:
        """Whether a volume has a record, be it readable or not."""
        return self.records.has(self.home(name))

    def read(self, name: str, file: str = RECORD) -> Record:
        """One record; raises Unreadable, naming the file, or FileNotFoundError."""
        home = self.home(name)
        path = home / file
        try:
            data = self.records.read(home) if file == RECORD else path.read_bytes()
            return decode(data, name)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise Unreadable(f"{path}: {error.strerror}") from error
        except Unreadable as error:
            raise error.at(path) from None

    def stage(self, key: str = "") -> Path:
        """Make an empty folder to build a volume in, on the filesystem of the volumes.

        `key` is that by which the volume that is to be replaced goes to the trash.
        """
        with self.changing():
            ending = f".{key}" if key else ""
            path = self.volumes / f"{STAGING}{self.mark}{secrets.token_hex(8)}{ending}"
            path.mkdir(mode=0o700)
            return path

    def seal(self, staging: Path, record: Record) -> None:
        """Give a built volume its record, durably, so that it lacks nothing but its name."""
        with self.changing():
            self.records.write(staging, encode(record))

    def commit(self, staging: Path, record: Record) -> None:
        """Give a built volume its record and its name, durably.

        Raises AlreadyExists if a folder of that name is there, which only kept data can be.
        """
        home = self.home(record.name)
        with self.changing():
            # The next start deletes what has no name yet, whatever lies in it.
            self.records.make(staging, encode(record))
            try:
                self.move(staging, home)
            except AlreadyExists:
                raise AlreadyExists(
                    f"volume {record.name}: data is kept in {home}; take it over with "
                    f"`convoy create --adopt {record.name}`, which keeps all of it, or give "
                    "another name"
                ) from None

    @relieved
    def adopt(self, record: Record) -> None:
        """Write the record of data that is already in its place, durably.

        It is written in a folder that the next start sweeps, as nothing sweeps the data's own.
        """
        self.refuse_shared("to adopt data")
        home, staging = self.home(record.name), self.stage()
        try:
            with self.changing():
                files.durable_replace(staging / RECORD, encode(record))
                # The point of no return: with a record it is a volume, whatever else is there.
                (staging / RECORD).rename(home / RECORD)
                with suppress(OSError):
                    (home / KEPT).unlink()
                self._sync_or_fail(home)
        finally:
            with suppress(OSError):  # else the next start does it
                files.remove_tree(staging)

    @relieved
    def keep(self, name: str) -> None:
        """Forget a volume but leave its data where it is, with its record under another name."""
        self.refuse_shared("to forget a volume and keep its data")
        home = self.home(name)
        with self.changing():
            # The point of no return.
            (home / RECORD).rename(home / KEPT)
            self._sync_or_fail(home)

    def kept(self) -> list[str]:
        """Names of data that `keep` left behind."""
        names = (path.parent.name for path in self.volumes.glob(f"*/{KEPT}"))
        return sorted(name for name in names if not self.has_record(name))

    @relieved
    def update(self, record: Record, known: Record | None = None) -> None:
        """Replace the record of a volume, durably.

        `known` is what it was made of: raises Conflict if another host has changed that.
        """
        with self.changing():
            is_known = _is(known) if known else None
            self.records.write(self.home(record.name), encode(record), is_known)

    @relieved
    def rename(self, record: Record, name: str) -> Record:
        """Give a volume another name, durably; returns its record under that name.

        The record bears both names before the folder is renamed, so either is right at any moment.
        Raises AlreadyExists; Conflict if another host has changed the record.
        """
        home = self.home(record.name)
        renamed = record.model_copy(update={"name": name, "formerly": record.name})
        with self.changing():
            self.records.write(home, encode(renamed), _is(record))
            self.move(home, self.home(name))
        return renamed.model_copy(update={"formerly": None})

    @relieved
    def bring_back(self, record: Record, name: str, home: Path) -> Record:
        """Do the same with what lies in the trash.

        On a shared root it is a volume again before it is moved, which anybody can do from then on.
        """
        renamed = record.model_copy(update={"name": name, "formerly": record.name})
        with self.changing():
            if self.mark and self.home(name).exists():
                raise AlreadyExists(f"there is a folder {self.home(name)} already")
            self.records.bring_back(home, encode(renamed), _is(record))
            self._go_back(home, name)
        return renamed.model_copy(update={"formerly": None})

    def go_on(self, home: Path) -> None:
        """Move what was restored, but lies in the trash yet, to where its record says."""
        if self.mark and self.records.has(home) and not self.records.is_gone(home):
            with self.changing():
                self._go_back(home, VOLUME.decode(self.records.read(home)).name)

    def _go_back(self, home: Path, name: str) -> None:
        target = self.home(name)
        try:
            self.move(home, target)
        except AlreadyExists:
            if self.records.is_back(home):
                self.records.remove(home)
            raise
        except FileNotFoundError:
            if not self.mark or home.exists() or not self.records.is_ours(target):
                raise  # else another host went on with it
        if self.records.is_gone(target):  # it was removed again while we were about to move it
            self.move(target, home)
        self.records.tell()

    def swap(self, staging: Path, name: str) -> None:
        """Give a sealed volume the place of the volume of that name, at once.

        What was there before is then in `staging`, also where this raises Unsettled.
        """
        self.refuse_shared("to convert a volume")
        with self.changing():
            # The point of no return.
            files.exchange(staging, self.home(name))
            self._sync_or_fail(self.volumes)

    @relieved
    def retire(self, home: Path) -> Path:
        """Take a folder of ours out of the volumes, durably; the data is then to be deleted."""
        with self.changing():
            if home.parent == self.volumes:
                self.records.remove(home)
            elif home.parent == self.trash:
                self.records.purge(home)
            gone = self.trash / f"{DELETED}{self.mark}{secrets.token_hex(8)}"
            self.move(home, gone)
            if home.parent == self.trash:
                self.records.tell()
            return gone

    @relieved
    def put_back(self, home: Path, before: Path) -> None:
        """Undo such a change of a folder's name, durably."""
        with self.changing():
            self.move(home, before)

    def move(self, home: Path, target: Path) -> None:
        """Rename a folder below the root, durably; raises AlreadyExists. Within `changing`.

        For nearly all verbs this is the point of no return: where it raises Unsettled the folder
        has its new name, and whatever it holds stays as it is.
        """
        try:
            home.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise AlreadyExists(f"there is a folder {target} already") from None
        self._sync_or_fail(target.parent)
        if home.parent != target.parent:
            self._sync_or_fail(home.parent)

    def note_restoring(self, name: str, path: str) -> None:
        """Note, durably, what in a volume's data is to be deleted if we are cut off."""
        with self.changing():
            note = RESTORE.encode(Restore(path=path))
            files.durable_replace(self.home(name) / RESTORING, note)

    def restoring(self, name: str) -> str | None:
        """What was noted, or None; raises Corrupt if a newer daemon did."""
        note = self.home(name) / RESTORING
        try:
            return RESTORE.decode(note.read_bytes()).path
        except Newer as problem:
            raise Corrupt(f"volume {name}: {problem.at(note)}") from None
        except (FileNotFoundError, Unreadable):
            return None

    def forget_restoring(self, name: str) -> None:
        with suppress(OSError):  # then the next start finds that nothing is left
            (self.home(name) / RESTORING).unlink()

    def half_restored(self) -> list[str]:
        """The names of the volumes of which something is noted."""
        return sorted(path.parent.name for path in self.volumes.glob(f"*/{RESTORING}"))

    def tidy(self) -> None:
        """Delete records and notes that were being written when a daemon ended."""
        for pattern in (".*.json.*", "*/.*.json.*", "volumes/*/.*.json.*", "trash/*/.*.json.*"):
            for path in self.root.glob(pattern):
                if not path.is_dir():
                    path.unlink(missing_ok=True)

    def half_made(self) -> list[Path]:
        return sorted(self.volumes.glob(f"{STAGING}{self.mark}*"))

    def half_deleted(self) -> list[Path]:
        # With a dot it is a volume in the trash, whose name may begin so.
        found = self.trash.glob(f"{DELETED}{self.mark}*")
        return sorted(path for path in found if "." not in path.name)

    def _sync_or_fail(self, folder: Path) -> None:
        """Sync the folder in which a name was changed: if that fails, nobody knows which lasts."""
        try:
            files.fsync_dir(folder)
        except OSError as error:
            raise files.Unsettled.after(error, folder) from error

    def _fail(self, error: OSError) -> None:
        self.failure = (
            f"a write of state failed ({error}); restart the daemon when the disk is well again"
        )

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Stop all changes for good once the disk has failed a write of ours.

        After a failed fsync the kernel may have dropped the dirty pages: a second one would report
        success for data that is gone. Only a restart, which reads the disk again, may go on.
        Raises Unsettled if something was changed by then.
        """
        self.presence.refuse()
        if self.failure:
            raise Unavailable(f"the state in {self.root} cannot be changed: {self.failure}")
        try:
            yield
        except files.Unsettled as error:
            self._fail(error)
            raise Unsettled(
                f"the state in {self.root} was changed, but a power cut may undo that "
                f"({error.strerror}: {error.filename}): what the next start finds is what holds; "
                "restart the daemon when the disk is well again"
            ) from error
        except OSError as error:
            if error.errno == errno.EIO:
                self._fail(error)
            raise failed(f"state in {self.root}", error) from error


def _is(known: Record) -> IsKnown:
    def is_known(data: bytes) -> bool:
        try:
            return encode(decode(data, known.name)) == encode(known)
        except Unreadable:
            return False

    return is_known
