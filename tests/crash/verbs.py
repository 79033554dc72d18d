"""The verbs on snapshots, clones, sizes and the trash, as an operator's command calls them."""

from typing import Any

from tests.harness import Daemon, Refused, eventually


def job(daemon: Daemon, method: str, target: str, **message: object) -> Any:
    """What a verb came to that may take long; raises Refused, Unanswered, as if it were short."""
    answer = daemon.admin(method, target, message or None)

    def ended() -> Any:
        return answer if answer["State"] != "running" else None

    def looked() -> Any:
        nonlocal answer
        answer = daemon.admin("GET", f"/v1/jobs/{answer['Id']}")
        return ended()

    ended() or eventually(looked, f"{answer['Verb']} ends")
    if answer["State"] != "done":
        raise Refused(answer["Error"])
    return answer["Result"]


def snapshot(daemon: Daemon, volume: str, name: str) -> None:
    job(daemon, "POST", f"/v1/volumes/{volume}/snapshots", Name=name)


def snapshot_group(daemon: Daemon, volumes: list[str], name: str) -> None:
    job(daemon, "POST", "/v1/snapshots", Volumes=volumes, Name=name)


def delete_snapshot(daemon: Daemon, name: str) -> None:
    daemon.admin("DELETE", f"/v1/snapshots/{name}")


def rollback(daemon: Daemon, volume: str, name: str) -> None:
    job(daemon, "POST", f"/v1/volumes/{volume}/rollback", Snapshot=name)


def clone(daemon: Daemon, volume: str, new: str, name: str = "") -> None:
    """Of the volume as it is, or of a snapshot of it."""
    job(daemon, "POST", f"/v1/volumes/{volume}/clone", Name=new, Snapshot=name)


def resize(daemon: Daemon, volume: str, size: str) -> None:
    job(daemon, "POST", f"/v1/volumes/{volume}/resize", Size=size)


def convert(daemon: Daemon, volume: str, **options: str) -> None:
    job(daemon, "POST", f"/v1/volumes/{volume}/convert", Options=options)


def restore_file(daemon: Daemon, volume: str, name: str, path: str) -> None:
    job(daemon, "POST", f"/v1/volumes/{volume}/restore-file", Snapshot=name, Path=path)


def rename(daemon: Daemon, volume: str, new: str) -> None:
    daemon.admin("POST", f"/v1/volumes/{volume}/rename", {"Name": new})


def protect(daemon: Daemon, volume: str, *, on: bool = True) -> None:
    daemon.admin("POST", f"/v1/volumes/{volume}/protect", {"On": on})


def restore(daemon: Daemon, name: str, as_name: str = "") -> None:
    """Take a volume back out of the trash."""
    daemon.admin("POST", "/v1/trash/restore", {"Name": name, "AsName": as_name})


def purge(daemon: Daemon, name: str = "") -> None:
    """Delete what is in the trash: of one name, or all."""
    daemon.admin("POST", "/v1/trash/purge", {"Name": name} if name else {"All": True})
