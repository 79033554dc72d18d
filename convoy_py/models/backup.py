"""The values that describe backups and the repositories in which they lie."""

import re
from datetime import UTC, datetime, time
from string import hexdigits

from pydantic import BaseModel, ConfigDict, Field

from convoy_py.errors import Invalid
from convoy_py.models.places import BACKUP_URL
from convoy_py.models.values import Frozen


class Description(BaseModel):
    """What lies beside the data in a backup: of which volume it is. A newer one may say more."""

    model_config = ConfigDict(frozen=True)

    name: str
    uuid: str
    created: datetime
    options: dict[str, str]  # as a user would give them, to get the same volume
    raw: bool = False  # the data is one file, the filesystem that the options tell of
    # What the Docker Engine knew: the volume's labels, and of the containers that had it what their
    # images were called, with their digests.
    labels: dict[str, str] = Field(default_factory=dict)
    images: dict[str, str] = Field(default_factory=dict)


class RepositoryView(Frozen):
    """One repository as the engine tells it to the edges; nothing in it is secret."""

    name: str
    location: str  # as `restic -r` spells it
    id: str  # 64 hexadecimal digits, of the repository itself
    created: datetime  # when it was made known here: aware, UTC
    password_file: str = ""  # empty: the password is kept below the root
    credentials_file: str = ""
    keeper: str = ""  # the host that prunes it


class BackupView(Frozen):
    """One backup: what `restic snapshots` shows as a snapshot of the repository."""

    id: str  # 64 hexadecimal digits
    repository: str  # its name here
    location: str
    volume: str
    host: str
    created: datetime  # when the data was so
    snapshot: str = ""  # the uuid of the volume's snapshot that it is a copy of
    snapshot_name: str = ""  # if a user took it
    volume_id: str = ""  # the volume's uuid
    raw: bool = False  # its filesystem as one file
    protected: bool = False  # no policy deletes it
    size: int = 0  # bytes of all files
    added: int = 0  # bytes that it added to the repository
    files: int = 0
    proven: datetime | None = None  # when it was last restored here and found as it should be
    # What the backup itself says; only of one that is described.
    driver: str = ""  # the volume's backend
    volume_size: int | None = None  # the volume's limit in bytes; 0: none
    volume_created: datetime | None = None

    @property
    def snapshot_created(self) -> datetime:
        return self.created

    @property
    def name(self) -> str:
        """As Convoy names it."""
        return f"backup-{self.id[:16]}"

    @property
    def url(self) -> str:
        """As Convoy spells it: the repository, and in it the backup of a volume."""
        return f"{self.location}?backup={self.name}&volume={self.volume}"


_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([ T].+)?")


def parse_at(text: str) -> datetime | str:
    """Which of a volume's backups: the newest up to a moment, or one by its id's digits.

    A day is meant to its end; without a zone it is UTC, as in lists. Raises Invalid.
    """
    if text and not set(text) - set(hexdigits):
        return text.lower()
    found = _TIME.fullmatch(text)
    try:
        at = datetime.fromisoformat(text) if found else None
    except ValueError:
        at = None
    if at is None or found is None:
        raise Invalid(
            f"{text!r} is neither a time, such as 2026-01-31 or 2026-01-31T02:30:00Z, nor the "
            "first digits of a backup's id: `convoy backup list` shows both"
        )
    if not found[1]:
        at = datetime.combine(at, time.max)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


class BackupUrl(Frozen):
    """What a URL of a backup says; `id` are the first 16 digits."""

    location: str
    id: str
    volume: str


def is_url(text: str) -> bool:
    """Whether this names a backup by itself, and not within a repository that is known here."""
    return BACKUP_URL.fullmatch(text) is not None


def parse_url(text: str) -> BackupUrl:
    """Raises Invalid; `&` may also be spelled as JSON does."""
    found = BACKUP_URL.fullmatch(text)
    if found is None:
        raise Invalid(
            f"{text!r} is no URL of a backup, such as "
            "s3:https://host/bucket/path?backup=backup-0123456789abcdef&volume=db: `convoy backup "
            "list` shows them"
        )
    return BackupUrl.model_validate(found.groupdict())
