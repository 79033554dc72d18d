"""Messages about repositories, in which backups lie."""

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


class RepositoryInfo(Message):
    name: str
    location: str
    id: str
    created: Moment
    password_file: str = Field("", description="empty: the daemon keeps the password")
    credentials_file: str = ""


class RepositoryList(Message):
    repositories: list[RepositoryInfo]
