"""Which backend a volume gets, and which options it takes: none that is given is dropped."""

import pytest

from convoy_py.backends import BACKENDS
from convoy_py.backends.base import COMMON
from convoy_py.backends.directory import Directory
from convoy_py.backends.loopback import Loopback
from convoy_py.engine.steps import adopting
from convoy_py.errors import InvalidOption, NotFound, Unsupported
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.options import BACKEND_NAMES
from convoy_py.models.volume import Options, Spec
from convoy_py.settings import Settings
from tests.fakes_engine import Engine, FakeBackend, FakeKernel


class Other(FakeBackend):
    """A backend that does only what the first does not."""

    name = "other"
    takes = FakeBackend.takes - {"fs"}

    def resolve(self, options: Options) -> Spec:
        if options.size is None:
            raise Unsupported("only with a size")
        return super().resolve(options).model_copy(update={"backend": self.name})


class NoSizes(FakeBackend):
    def resolve(self, options: Options) -> Spec:
        if options.size is not None:
            raise Unsupported("no sizes")
        return super().resolve(options)


def test_the_first_backend_that_can_is_chosen(engine: Engine, kernel: FakeKernel) -> None:
    """A size goes to one that enforces it; if none can, all say why."""
    engine.host.backends = {"fake": NoSizes(kernel), "other": Other(kernel)}
    assert engine.host.choose(Options())[0].name == "fake"
    assert engine.host.choose(Options(size=1))[0].name == "other"
    assert engine.host.choose(Options(size=1, backend="other"))[1].size == 1
    with pytest.raises(Unsupported, match=r"^no sizes$"):
        engine.host.choose(Options(size=1, backend="fake"))
    with pytest.raises(Unsupported, match=r"fake: no sizes; other: option fs is for backend=fake$"):
        engine.host.choose(Options(size=1, fs=Filesystem.EXT4))


def test_what_is_to_be_backed_up_as_an_image_is_one(engine: Engine) -> None:
    settings = Settings(root=engine.store.root)
    engine.host.backends = {name: BACKENDS[name](settings) for name in BOTH}
    assert engine.host.choose(Options(size=2**30, schedule_raw=True))[0].name == "loopback"


BOTH = ("directory", "loopback")


@pytest.mark.parametrize(
    ("on", "options", "told"),
    [
        (BOTH, Options(backend="directory", fs=Filesystem.EXT4), "fs is for backend=loopback"),
        (BOTH, Options(backend="directory", sparse=False), "sparse is for backend=loopback"),
        (
            BOTH,
            Options(backend="directory", autogrow=1, fs=Filesystem.EXT4, mount_options=("suid",)),
            "option fs, autogrow is for backend=loopback",
        ),
        (BOTH, Options(backend="loopback", path="/srv/x"), "option path is for backend=directory"),
        (
            BOTH,
            Options(backend="directory", schedule_backup="@daily", schedule_raw=True),
            "option schedule.raw is for backend=loopback",
        ),
        (
            BOTH,
            Options(path="/srv/x", sparse=True),
            "directory: option sparse is for backend=loopback; loopback: option path is for",
        ),
        (
            ("directory",),
            Options(fs=Filesystem.EXT4),
            r"option fs is not for backend=directory \(which takes .*size, .*path, .*from, ",
        ),
    ],
)
def test_an_option_that_a_backend_does_not_take_is_refused(
    engine: Engine, on: tuple[str, ...], options: Options, told: str
) -> None:
    """Nothing that was given is ignored; it says whose it is, if one that is on takes it."""
    settings = Settings(root=engine.store.root)
    engine.host.backends = {name: BACKENDS[name](settings) for name in on}
    with pytest.raises(Unsupported, match=told):
        engine.host.choose(options)
    home = engine.store.home("v")
    (home / "data").mkdir(parents=True)
    if options.backend == "directory":  # nor is it when something is adopted
        with pytest.raises(Unsupported, match=told):
            engine.steps.adopt("v", options)


def test_there_is_a_backend_for_every_option_and_name() -> None:
    """Such as one that was just made an option; and each takes what is to be the same for all."""
    assert BACKENDS.keys() == BACKEND_NAMES.keys()
    backends = (Directory, Loopback)
    assert frozenset[str]().union(*(each.takes for each in backends)) == {*Options.model_fields}
    assert all(each.takes >= COMMON for each in backends)


@pytest.mark.parametrize("name", BACKENDS)
def test_an_option_that_a_backend_takes_is_recorded(engine: Engine, name: str) -> None:
    """As it was asked for: none is dropped on the way."""
    backend = BACKENDS[name](Settings(root=engine.store.root))
    asked = Options(
        backend=name,
        uid=7,
        gid=8,
        mode=0o700,
        mount_options=("noatime",),
        source="db",
        per_mount=True,
    )
    if "fs" in backend.takes:
        asked = asked.model_copy(
            update={"fs": Filesystem.XFS, "size": 512 << 20, "sparse": False, "inodes": 20000}
        )
    assert backend.resolve(asked).options() == asked


@pytest.mark.parametrize(
    ("there", "options", "expected"),
    [
        (["data"], Options(), "directory"),
        (["image"], Options(), "loopback"),
        ([], Options(path="/srv/x"), "directory"),
        ([], Options(backend="loopback", path="/srv/x"), "loopback"),
        (["data"], Options(backend="loopback"), "loopback"),
        (["data", "image"], Options(backend="directory"), "directory"),
    ],
)
def test_adopting_recognises_what_lies_there(
    engine: Engine, there: list[str], options: Options, expected: str
) -> None:
    """A folder is a directory's, a file called image a loopback's; what is asked for goes first."""
    settings, home = Settings(root=engine.store.root), engine.store.home("v")
    backends = {name: build(settings) for name, build in BACKENDS.items()}
    for name in there:
        (home / name).mkdir(parents=True)
    assert adopting.backend(backends, home, options, None).name == expected


def test_adopting_what_is_not_plain_is_refused(engine: Engine) -> None:
    """Data of two kinds, of one that is not on, and of none."""
    settings, home = Settings(root=engine.store.root), engine.store.home("v")
    backends = {name: build(settings) for name, build in BACKENDS.items()}
    with pytest.raises(
        NotFound,
        match=r"nothing to adopt; put a folder data or a filesystem image image into /.*/v",
    ):
        adopting.backend(backends, home, Options(), None)
    for name in ("data", "image"):
        (home / name).mkdir(parents=True)
    with pytest.raises(InvalidOption, match="has data of directory, loopback: say which"):
        adopting.backend(backends, home, Options(), None)
    del backends["loopback"]
    with pytest.raises(Unsupported, match="backend loopback is not on here; use directory"):
        adopting.backend(backends, home, Options(backend="loopback"), None)
