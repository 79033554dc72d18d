"""The admin API's routes about the daemon: its settings and host, its metrics, its health."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from time import monotonic

from convoy_py import __version__
from convoy_py.api.admin import Admin
from convoy_py.api.rest import Call, Reply, Route
from convoy_py.metrics import CONTENT_TYPE
from convoy_py.models.schedule import ScheduleView, Task, TaskView
from convoy_py.models.volume import State
from convoy_py.settings import Settings
from convoy_py.wire import endpoints
from convoy_py.wire.base import Nothing
from convoy_py.wire.daemon import General, Health, HostInfo, HostList, Info, Setting, option_table


async def info(admin: Admin, call: Call[Nothing]) -> Reply[Info]:
    daemon = admin.verbs.daemon
    settings, sources = admin.configuration.settings, admin.configuration.sources
    shown = settings.model_dump(mode="json")
    return Reply(
        Info(
            general=await _general(admin),
            settings={k: Setting(value=v, source=sources[k]) for k, v in shown.items()},
            space=await daemon.space(),
            options=option_table(),
            root=daemon.root(),
            drivers=await daemon.drivers(),
            vfs=_in_convoys_keys("directory", settings),
            loopback=_in_convoys_keys("loopback", settings),
        )
    )


def _in_convoys_keys(backend: str, settings: Settings) -> dict[str, str]:
    """What Convoy told of a driver, as text; sizes in bytes, "0" where there is none."""
    if backend not in settings.drivers:
        return {}
    found = {"Root": str(settings.root), "Path": str(settings.root / "volumes")}
    if backend == "directory":
        return found | {"DefaultVolumeSize": "0"}
    size, fs = str(settings.default_size), settings.default_fs.value
    return found | {"DefaultVolumeSize": size, "Filesystem": fs}


async def _general(admin: Admin) -> General:
    daemon, settings = admin.verbs.daemon, admin.configuration.settings
    states = Counter(view.state for view in admin.verbs.volumes.views())
    return General(
        root=str(settings.root),
        driver_list=list(settings.drivers),
        default_driver=settings.drivers[0],
        version=__version__,
        pid=os.getpid(),
        volumes=states.total(),
        broken=states[State.BROKEN],
        mounted=states[State.MOUNTED],
        kept=await daemon.kept(),
        health="; ".join(daemon.health()) or "ok",
        notes=admin.verbs.trash.notes(),
        uptime=round(monotonic() - admin.started, 3),
    )


async def metrics(admin: Admin, call: Call[Nothing]) -> Reply[Nothing]:
    daemon, views = admin.verbs.daemon, admin.verbs.volumes.views()
    by_state = Counter((view.backend, view.state.value) for view in views)
    admin.metrics.volumes(
        by_state,
        references=sum(view.references for view in views),
        lingering=daemon.lingering(),
        problems=len(daemon.health()),
    )
    admin.metrics.inodes(
        {
            view.name: (view.usage.inodes_used, view.usage.inodes_available)
            for view in views
            if view.usage
        }
    )
    admin.metrics.proven(
        (name, proof.volume, proof.proven.timestamp())
        for name, proof in admin.verbs.repositories.all_proofs()
    )
    admin.metrics.schedules(_scheduled(admin.verbs.schedules.views(), admin.clock()))
    return Reply(admin.metrics.render())


def _scheduled(
    views: Iterable[ScheduleView], now: float
) -> Iterator[tuple[tuple[str, str, str], dict[str, float]]]:
    for view in views:
        for task in Task:
            told: TaskView | None = getattr(view, task)
            if told:
                where = "" if task is Task.SNAPSHOT else view.to
                yield (view.volume, task, where), _measured(told, now)


def _measured(told: TaskView, now: float) -> dict[str, float]:
    found: dict[str, float] = {"failures": told.failures}
    if told.good:
        found["good_age_seconds"] = max(0.0, now - told.good.timestamp())
    if told.next:
        found["next_timestamp_seconds"] = told.next.timestamp()
    if last := told.last:
        found |= {"seconds": last.seconds, "size_bytes": last.size, "added_bytes": last.added}
    return found


async def health(admin: Admin, call: Call[Nothing]) -> Reply[Health]:
    problems = admin.verbs.daemon.health()
    told = Health(healthy=not problems, problems=problems, notes=admin.verbs.trash.notes())
    return Reply(told, HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK)


async def hosts(admin: Admin, call: Call[Nothing]) -> Reply[HostList]:
    views = admin.verbs.daemon.hosts()
    return Reply(HostList(hosts=[HostInfo.model_validate(view) for view in views]))


ROUTES = (
    Route(endpoints.INFO, info),
    Route(endpoints.LIST_HOSTS, hosts),
    Route(endpoints.METRICS, metrics, media=CONTENT_TYPE, early=True),
    Route(endpoints.HEALTH, health, early=True),
)
