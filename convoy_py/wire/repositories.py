"""Messages about repositories, in which backups lie: what they are, their keys, their locks."""

from pydantic import ConfigDict, Field

from convoy_py.wire.base import Message, Moment


class AddRepository(Message):
    """Open a repository, or make it, and know it by a name.

    A secret is named by its file. What the file holds is used, and kept by the daemon, only where
    the daemon does not see the file.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    name: str = Field(min_length=1)
    location: str = Field(min_length=1, description="as for `restic -r`")
    password_file: str = ""
    password: str = Field("", repr=False)
    credentials_file: str = ""
    credentials: str = Field("", repr=False, description="lines of NAME=VALUE")
    keeper: bool = Field(False, description="this host prunes it from now on")


class RepositoryInfo(Message):
    name: str
    location: str
    id: str
    created: Moment
    password_file: str = Field("", description="empty: the daemon keeps the password")
    credentials_file: str = ""
    keeper: str = Field("", description="the host that prunes it")


class RepositoryList(Message):
    repositories: list[RepositoryInfo]


class KeyInfo(Message):
    """One password of a repository; what it tells of who made it is what that one wrote."""

    id: str
    created: str
    user: str
    host: str
    in_use: bool = Field(False, description="it is that of the password that the daemon knows")


class KeyList(Message):
    keys: list[KeyInfo]


class AddKey(Message):
    """Have a repository open by one more password; the one that is known here stays in use."""

    model_config = ConfigDict(hide_input_in_errors=True)

    password: str = Field(min_length=1, repr=False)


class RemoveKey(Message):
    """Have it open by a password no longer."""

    key: str = Field(min_length=1, description="the first digits of its id")


class Unlock(Message):
    """Remove the locks of those who are gone; or all, also of who works there now."""

    all: bool = False


class LockInfo(Message):
    id: str
    exclusive: bool
    told: str = Field(description="who has it, and since when")


class Unlocked(Message):
    """The locks that are gone, and those that stay."""

    unlocked: list[LockInfo]
    locked: list[LockInfo]
