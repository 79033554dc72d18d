"""The engine's volumes, its own and those that it knows of ours, through a stand-in for the SDK."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.errors import APIError

from convoy_py import containers
from convoy_py.docker_volumes import Docker, Known
from convoy_py.errors import NotFound, OperationFailed, Unsupported
from tests.fakes_docker import Sdk

PROJECT = "com.docker.compose.project"


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sdk]:
    """The SDK's client of any engine; at the end every client must have been closed."""
    found = Sdk()

    def connect(host: str, timeout: float) -> Sdk:
        found.open += 1
        return found

    monkeypatch.setattr(containers, "_connect", connect)
    yield found
    assert found.open == 0


@pytest.fixture
def docker(sdk: Sdk) -> Docker:
    return Docker("unix:///run/docker.sock")


def test_local_volume(sdk: Sdk, docker: Docker) -> None:
    """Where its data is and who uses it now; a quota does not put the data elsewhere."""
    sdk.put_volume("data", size="1G")
    user = sdk.put("db", "data")
    sdk.put("old", "data", state="exited")
    found = docker.local_volume("data")
    assert found.mountpoint == Path("/var/lib/docker/volumes/data/_data")
    assert (found.driver, found.options, found.labels) == ("local", {"size": "1G"}, {})
    assert found.users == [user]


def test_local_volume_that_is_not_there(docker: Docker) -> None:
    """The engine's words, in one line; a name that Docker would refuse is not asked for."""
    with pytest.raises(NotFound, match=r"^get data: no such volume$"):
        docker.local_volume("data")
    with pytest.raises(NotFound, match=r"^no such Docker volume: a/\.\./b$"):
        docker.local_volume("a/../b")


@pytest.mark.parametrize(
    ("driver", "options", "text"),
    [
        ("convoy:latest", {}, "data is one of convoy:latest: only those of `local`"),
        (
            "local",
            {"type": "nfs", "o": "addr=nas,rw", "device": ":/export"},
            "is type=nfs, device=:/export, mounted only while in use",
        ),
        ("local", {"type": "tmpfs", "device": "tmpfs"}, "is type=tmpfs, device=tmpfs"),
        (
            "local",
            {"type": "none", "o": "rw,bind", "device": "/srv/x"},
            "is the folder /srv/x, not Docker's own: make a volume with `-o path=/srv/x`",
        ),
    ],
)
def test_data_that_is_elsewhere(
    sdk: Sdk, docker: Docker, driver: str, options: dict[str, str], text: str
) -> None:
    """It is said whose or where the data is, and what to do."""
    sdk.put_volume("data", driver, **options)
    with pytest.raises(Unsupported) as caught:
        docker.local_volume("data")
    assert text in str(caught.value)


def test_passwords_of_a_volume_stay_unsaid(sdk: Sdk, docker: Docker) -> None:
    """The option `o` of a CIFS volume holds one."""
    sdk.put_volume("data", type="cifs", device="//nas/x", o="username=joe,password=secret")
    with pytest.raises(Unsupported) as caught:
        docker.local_volume("data")
    assert "secret" not in str(caught.value)


def test_local_volumes_of_a_project(sdk: Sdk, docker: Docker) -> None:
    """Those it made, by name; not those of other drivers or projects, nor what it only uses."""
    user = sdk.put("db", "shop_b", "external", labels={PROJECT: "shop"})
    for name, driver in (("shop_b", "local"), ("shop_a", "local"), ("shop_c", "convoy")):
        sdk.put_volume(name, driver)
        sdk.known[name]["Labels"] = {f"{PROJECT}=shop": ""}
    sdk.put_volume("external")
    found = docker.local_volumes_of_project("shop")
    assert [(v.name, v.users) for v in found] == [("shop_a", []), ("shop_b", [user])]
    assert docker.local_volumes_of_project("nope") == []


def test_volumes_of_other_drivers_of_a_project(sdk: Sdk, docker: Docker) -> None:
    """Those it made, by name; not what it only uses, nor Docker's own."""
    sdk.put("db", "external", labels={PROJECT: "shop"})
    for name, driver in (("shop_b", "convoy"), ("shop_a", "other"), ("shop_c", "local")):
        sdk.put_volume(name, driver)
        sdk.known[name]["Labels"] = {f"{PROJECT}=shop": ""}
    sdk.put_volume("external", "convoy")
    assert docker.foreign_volumes_of_project("shop") == ["shop_a", "shop_b"]


def test_what_is_known_of_a_volume(sdk: Sdk, docker: Docker) -> None:
    """Its driver and labels; nothing, if there is none."""
    sdk.put_volume("db", "convoy")
    assert docker.driver_and_labels("db") == ("convoy", {})
    sdk.known["db"]["Labels"] = {"a": "b"}
    assert docker.driver_and_labels("db") == ("convoy", {"a": "b"})
    assert docker.driver_and_labels("nosuch") == ("", {})


def test_who_has_a_volume(sdk: Sdk, docker: Docker) -> None:
    """In whatever state: the engine keeps its name for them all."""
    one, two = sdk.put("one", "db"), sdk.put("two", "db", state="exited")
    sdk.put("three", "other")
    assert docker.having("db") == [one, two]


def test_a_local_volume_comes_and_goes(sdk: Sdk, docker: Docker) -> None:
    """With labels; one that is in use stays, and the engine's words are told."""
    made = docker.create_local("db", {"a": "b"})
    assert (made.driver, made.labels) == ("local", {"a": "b"})
    assert made.mountpoint == Path("/var/lib/docker/volumes/db/_data")
    sdk.broken["remove db"] = APIError("409", explanation="volume is in use")
    with pytest.raises(OperationFailed, match="volume is in use"):
        docker.remove_volume("db")
    sdk.broken.clear()
    docker.remove_volume("db")
    with pytest.raises(NotFound):
        docker.remove_volume("db")


def test_where_local_volumes_lie(sdk: Sdk, docker: Docker, tmp_path: Path) -> None:
    """Below the engine's own folder; in a managed plugin that is seen through the first process."""
    (tmp_path / "volumes").mkdir()
    sdk.root = tmp_path
    assert docker.folder() == tmp_path / "volumes"
    sdk.root = Path("/nosuch/docker")
    assert docker.folder() == Path("/proc/1/root/nosuch/docker/volumes")


def test_what_is_known_of_volumes(sdk: Sdk, tmp_path: Path) -> None:
    """Who is alive that uses any, their labels, and the images of all that have one."""
    (tmp_path / "docker.sock").touch()
    docker = Docker(f"unix://{tmp_path}/docker.sock")
    app = sdk.put("app", "db", labels={"a": "b"})
    sdk.put("old", "db", "web", state="exited", image="built", image_id="sha256:2")
    sdk.put("other", "elsewhere")
    sdk.put_volume("db", "convoy")
    sdk.put_volume("web", "convoy")
    sdk.known["db"]["Labels"] = {"project": "shop"}
    known = docker.known(["db", "web"])
    assert ([user.labels for user in known.users], known.users) == ([{"a": "b"}], [app])
    assert [user.volumes for user in known.users] == [["db"]]
    assert known.labels == {"db": {"project": "shop"}}
    assert known.images == {
        "db": {"app": "app@sha256:a", "built": "sha256:2"},
        "web": {"built": "sha256:2"},
    }
    sdk.broken["images"] = APIError("500", explanation="no")
    assert docker.known(["db"]) == Known([app])


def test_nothing_is_known_without_an_engine(tmp_path: Path) -> None:
    """And the SDK is not loaded for it."""
    assert Docker(f"unix://{tmp_path}/none").known(["db"]) == Known()
