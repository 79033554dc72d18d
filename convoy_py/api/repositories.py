"""The admin API's routes about repositories: add, list, inspect, remove."""

from http import HTTPStatus

from convoy_py.api.admin import Admin
from convoy_py.api.rest import Call, Reply, Route
from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.verbs.repositories import Secret
from convoy_py.wire import endpoints
from convoy_py.wire.base import Nothing
from convoy_py.wire.repositories import AddRepository, RepositoryInfo, RepositoryList


async def add_repository(admin: Admin, call: Call[AddRepository]) -> Reply[RepositoryInfo]:
    asked = call.message

    async def work(progress: Progress) -> RepositoryInfo:
        view = await admin.verbs.repositories.add(
            asked.name,
            asked.location,
            Secret(asked.password_file, asked.password),
            Secret(asked.credentials_file, asked.credentials),
            progress,
        )
        return RepositoryInfo.model_validate(view)

    return await admin.job("repository-add", call, work)


async def repositories(admin: Admin, call: Call[Nothing]) -> Reply[RepositoryList]:
    views = admin.verbs.repositories.views()
    return Reply(RepositoryList(repositories=[RepositoryInfo.model_validate(v) for v in views]))


async def inspect_repository(admin: Admin, call: Call[Nothing]) -> Reply[RepositoryInfo]:
    return Reply(RepositoryInfo.model_validate(admin.verbs.repositories.inspect(call.name)))


async def remove_repository(admin: Admin, call: Call[Nothing]) -> Reply[Nothing]:
    await admin.verbs.backups.remove_repository(call.name)
    return Reply(status=HTTPStatus.NO_CONTENT)


ROUTES = (
    Route(endpoints.LIST_REPOSITORIES, repositories),
    Route(endpoints.ADD_REPOSITORY, add_repository),
    Route(endpoints.INSPECT_REPOSITORY, inspect_repository),
    Route(endpoints.REMOVE_REPOSITORY, remove_repository),
)
