"""What can go wrong with a repository; the message is one line for a user."""


class RepositoryError(Exception):
    """The repository cannot do what was asked."""


class BadLocation(RepositoryError):
    """The place is spelled in no way that is known, or what it needs is missing."""


class NoRepository(RepositoryError):
    """There is none at that place."""


class AlreadyThere(RepositoryError):
    """A repository, or parts of one, is where a new one was to be."""


class WrongPassword(RepositoryError):
    """No key of the repository opens with it."""


class Damaged(RepositoryError):
    """What was read is not what was written: hash, tag, length or form is wrong."""


class NotFound(RepositoryError):
    """A file, snapshot, blob or path that was asked for does not exist."""


class Locked(RepositoryError):
    """Somebody else's lock conflicts; the message says whose, and since when."""


class LockLost(RepositoryError):
    """The own lock could not be refreshed in time: nothing more may be written."""


class StoreFailed(RepositoryError):
    """The storage did not answer, or refused, after the retries that it deserves."""


class AppendOnly(StoreFailed):
    """The storage takes new files and deletes none."""


class SourceChanged(RepositoryError):
    """What was to be stored was written to while it was read; the message names the file."""
