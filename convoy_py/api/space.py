"""The admin API's routes about space: grow a volume, trim, and where the host's bytes are."""

from convoy_py.api.admin import Admin
from convoy_py.api.rest import Call, Reply, Route
from convoy_py.engine.running.jobs import Progress
from convoy_py.errors import InvalidOption
from convoy_py.models.sizes import parse_size
from convoy_py.wire import endpoints
from convoy_py.wire.base import Nothing
from convoy_py.wire.space import Resized, ResizeVolume, SpaceReport, Trimmed


async def resize(admin: Admin, call: Call[ResizeVolume]) -> Reply[Resized]:
    text = call.message.size
    try:
        wanted = parse_size(text.removeprefix("+"))
    except ValueError as error:
        raise InvalidOption(f"{error}; +10G for so much more than it has") from None

    async def work(progress: Progress) -> Resized:
        size, pending = await admin.verbs.space.resize(call.name, wanted, by=text.startswith("+"))
        return Resized(size=size, pending=pending)

    return await admin.job("resize", call, work)


async def trim(admin: Admin, call: Call[Nothing]) -> Reply[Trimmed]:
    async def work(progress: Progress) -> Trimmed:
        trimmed = await admin.verbs.space.trim(call.name)
        return Trimmed(bytes=trimmed, volumes={call.name: trimmed})

    return await admin.job("trim", call, work)


async def trim_all(admin: Admin, call: Call[Nothing]) -> Reply[Trimmed]:
    async def work(progress: Progress) -> Trimmed:
        volumes, skipped = await admin.verbs.space.trim_all(progress)
        return Trimmed(bytes=sum(volumes.values()), volumes=volumes, skipped=skipped)

    return await admin.job("trim --all", call, work)


async def df(admin: Admin, call: Call[Nothing]) -> Reply[SpaceReport]:
    verbs = admin.verbs

    async def work(progress: Progress) -> SpaceReport:
        return SpaceReport(
            volumes=await verbs.space.df(),
            trash=await verbs.room.in_trash(),
            host=await verbs.daemon.space(),
        )

    return await admin.job("df", call, work)


ROUTES = (
    Route(endpoints.RESIZE_VOLUME, resize),
    Route(endpoints.TRIM_VOLUME, trim),
    Route(endpoints.TRIM_ALL, trim_all),
    Route(endpoints.REPORT_SPACE, df),
)
