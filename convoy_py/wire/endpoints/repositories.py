"""The calls of the repositories that backups go to."""

from convoy_py import wire
from convoy_py.wire.endpoints.endpoint import Direct, Long, nothing

LIST_REPOSITORIES = Direct(
    "GET",
    "/v1/repositories",
    "The repositories that are known here",
    nothing,
    lambda: wire.repositories.RepositoryList,
)
ADD_REPOSITORY = Long(
    "POST",
    "/v1/repositories",
    "Open a repository, or make it where there is none, and know it by a name",
    lambda: wire.repositories.AddRepository,
    lambda: wire.repositories.RepositoryInfo,
    noun="repository",
)
INSPECT_REPOSITORY = Direct(
    "GET",
    "/v1/repositories/{name}",
    "One repository",
    nothing,
    lambda: wire.repositories.RepositoryInfo,
    noun="repository",
)
REMOVE_REPOSITORY = Direct(
    "DELETE",
    "/v1/repositories/{name}",
    "Forget a repository, which stays as it is",
    nothing,
    nothing,
    statuses=(204,),
    noun="repository",
)
LIST_KEYS = Long(
    "GET",
    "/v1/repositories/{name}/keys",
    "The passwords of a repository: who made each, and when",
    nothing,
    lambda: wire.repositories.KeyList,
    noun="repository",
)
ADD_KEY = Long(
    "POST",
    "/v1/repositories/{name}/keys",
    "Have a repository open by one more password",
    lambda: wire.repositories.AddKey,
    lambda: wire.repositories.KeyInfo,
    noun="repository",
)
REMOVE_KEY = Long(
    "POST",
    "/v1/repositories/{name}/keys/remove",
    "Have a repository open by a password no longer",
    lambda: wire.repositories.RemoveKey,
    lambda: wire.repositories.KeyInfo,
    noun="repository",
)
UNLOCK = Long(
    "POST",
    "/v1/repositories/{name}/unlock",
    "Remove the locks of those who are gone, or all",
    lambda: wire.repositories.Unlock,
    lambda: wire.repositories.Unlocked,
    noun="repository",
)
