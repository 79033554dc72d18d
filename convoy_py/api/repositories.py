"""The admin API's routes about repositories: add, list, inspect, remove, keys, unlock."""

from http import HTTPStatus

from convoy_py.api.admin import Admin
from convoy_py.api.rest import Call, Reply, Route
from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.verbs.repositories import Secret
from convoy_py.wire import endpoints
from convoy_py.wire.base import Nothing
from convoy_py.wire.repositories import (
    AddKey,
    AddRepository,
    KeyInfo,
    KeyList,
    RemoveKey,
    RepositoryInfo,
    RepositoryList,
    Unlock,
    Unlocked,
)


async def add_repository(admin: Admin, call: Call[AddRepository]) -> Reply[RepositoryInfo]:
    asked = call.message

    async def work(progress: Progress) -> RepositoryInfo:
        view = await admin.verbs.repositories.add(
            asked.name,
            asked.location,
            Secret(asked.password_file, asked.password),
            Secret(asked.credentials_file, asked.credentials),
            progress,
            keeper=asked.keeper,
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


async def keys(admin: Admin, call: Call[Nothing]) -> Reply[KeyList]:
    async def work(progress: Progress) -> KeyList:
        found = await admin.verbs.repositories.keys(call.name, progress)
        return KeyList(keys=[KeyInfo.model_validate(key) for key in found])

    return await admin.job("key-list", call, work)


async def add_key(admin: Admin, call: Call[AddKey]) -> Reply[KeyInfo]:
    async def work(progress: Progress) -> KeyInfo:
        verbs = admin.verbs.repositories
        return KeyInfo.model_validate(
            await verbs.add_key(call.name, call.message.password, progress)
        )

    return await admin.job("key-add", call, work)


async def remove_key(admin: Admin, call: Call[RemoveKey]) -> Reply[KeyInfo]:
    async def work(progress: Progress) -> KeyInfo:
        verbs = admin.verbs.repositories
        return KeyInfo.model_validate(await verbs.remove_key(call.name, call.message.key, progress))

    return await admin.job("key-remove", call, work)


async def unlock(admin: Admin, call: Call[Unlock]) -> Reply[Unlocked]:
    async def work(progress: Progress) -> Unlocked:
        verbs, everything = admin.verbs.repositories, call.message.all
        return Unlocked.model_validate(
            await verbs.unlock(call.name, progress, everything=everything)
        )

    return await admin.job("unlock", call, work)


ROUTES = (
    Route(endpoints.LIST_REPOSITORIES, repositories),
    Route(endpoints.ADD_REPOSITORY, add_repository),
    Route(endpoints.INSPECT_REPOSITORY, inspect_repository),
    Route(endpoints.REMOVE_REPOSITORY, remove_repository),
    Route(endpoints.LIST_KEYS, keys),
    Route(endpoints.ADD_KEY, add_key),
    Route(endpoints.REMOVE_KEY, remove_key),
    Route(endpoints.UNLOCK, unlock),
)
