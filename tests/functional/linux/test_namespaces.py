"""What is mounted anywhere: the kernel's own list never misses what the processes show."""

import errno
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from convoy_py.linux import libc, loop, mounts, namespaces
from convoy_py.linux.descriptors import opened
from convoy_py.linux.holders import Census
from convoy_py.linux.namespaces import Shown
from tests.functional.linux.builds_namespaces import roots

pytestmark = pytest.mark.root

AttachAndMount = Callable[..., loop.LoopDevice]
Build = Callable[[list[tuple[list[list[str]], str]]], None]

# A campaign asks for more of them.
EXAMPLES = int(os.environ.get("CONVOY_NAMESPACES", "20"))

SOURCES = ("whole", "part", "other")
TARGETS = ("one", "two", "shared/three")
# A volume is covered, a namespace's root is, and both are seen by who was there before.
FOLDERS = (*TARGETS, ".", "/")
STEP = st.one_of(
    st.tuples(st.just("unshare"), st.sampled_from(["unchanged", "private", "slave", "shared"])),
    st.tuples(st.just("bind"), st.sampled_from(SOURCES), st.sampled_from(TARGETS)),
    st.tuples(st.just("mount"), st.just("device"), st.sampled_from(TARGETS)),
    st.tuples(st.just("move"), st.sampled_from(TARGETS), st.sampled_from(TARGETS)),
    st.tuples(st.just("cover"), st.sampled_from(FOLDERS)),
    st.tuples(st.sampled_from(["unmount", "detach"]), st.sampled_from(TARGETS)),
    st.tuples(st.sampled_from(["open", "cd", "chroot"]), st.sampled_from((*SOURCES, *TARGETS))),
    st.tuples(st.sampled_from(["pivot", "pivot alone"]), st.sampled_from(TARGETS)),
    st.tuples(st.just("hold")),
)
PROCESS = st.tuples(
    st.lists(STEP, max_size=6), st.sampled_from(["process", "process", "fd", "bound", "no"])
)
BOUND = ("bind", "whole", "one")


@pytest.fixture
def world(
    scratch: Path,
    shared_folder: Path,
    make_image: Callable[..., Path],
    attach_and_mount: AttachAndMount,
) -> Iterator[tuple[Path, Path, Path]]:
    """A folder, an image's device that is mounted in it, and the folder to work in."""
    for name in ("folder/in it", "folder2", "one", "two", "shared/three", "held"):
        (scratch / name).mkdir(parents=True)
    device = attach_and_mount("ext4", make_image("ext4"), shared_folder / "volume")
    (shared_folder / "volume" / "in it").mkdir()
    with device.path.open("rb"):  # it stays though nobody mounts it
        yield scratch / "folder", device.path, scratch


@pytest.fixture
def build(world: tuple[Path, Path, Path]) -> Iterator[Build]:
    """Makes namespaces, and takes those away that it made before."""
    scratch = world[2]
    program = Path(__file__).with_name("builds_namespaces.py")
    with subprocess.Popen(
        [sys.executable, str(program), str(scratch / "held")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        made = False

        def tell(line: str) -> str:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            return process.stdout.readline()

        def make(processes: list[tuple[list[list[str]], str]]) -> None:
            nonlocal made
            if made:
                assert tell("go") == "gone\n"
            for mount in reversed(mounts.below(scratch)):
                if Path(mount.mountpoint).name in {"one", "two", "three"}:
                    mounts.detach(mount.mountpoint)
            made = tell(json.dumps(processes)) == "made\n"
            assert made

        yield make
        if made:
            assert tell("go") == "gone\n"
        process.stdin.close()


def _by_processes(ask: Callable[[Census], object]) -> object:
    """What the census finds where the kernel does not tell what is mounted."""
    with pytest.MonkeyPatch.context() as patch:

        def untold() -> list[Shown]:
            raise OSError

        patch.setattr(namespaces, "shown_anywhere", untold)
        return ask(Census.take())


@pytest.mark.parametrize("kind", ["folder", "device"])
def test_nobody_is_said_to_hold_what_the_census_sees_held(
    kind: str, world: tuple[Path, Path, Path], build: Build, answers: dict[bool, int]
) -> None:
    """Of random namespaces: with and without processes, with roots of their own and covered ones,
    with mounts that were moved, detached, covered, propagated."""
    folder, device, scratch = world
    ours = scratch / "shared" / "volume"
    whole = folder if kind == "folder" else ours
    names = {
        "whole": str(whole),
        "part": str(whole / "in it"),
        "other": str(folder.with_name("folder2")),
        "device": str(device),
        ".": str(scratch),
        "/": "/",
        **{name: str(scratch / name) for name in TARGETS},
    }

    def ask(census: Census) -> object:
        if kind == "folder":
            return census.of_folder(folder, ours)
        return census.of_device(device, ours)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.lists(PROCESS, min_size=1, max_size=4), st.booleans())
    @example([([BOUND, ("cover", "/")], "process")], True)
    @example([([BOUND, ("chroot", "one"), ("cover", "/")], "process")], True)
    @example([([BOUND, ("hold",), ("unshare", "private"), ("unmount", "one")], "process")], True)
    @example([([("mount", "device", "one"), ("pivot alone", "one")], "process")], True)
    @example([([], "process")], True)
    def compare(processes: list[tuple[list[tuple[str, ...]], str]], unmounted: bool) -> None:
        build(
            [
                (
                    [[step, *(names.get(word, word) for word in words)] for step, *words in steps],
                    how,
                )
                for steps, how in processes
            ]
        )
        if unmounted:
            with suppress(OSError):
                mounts.unmount(ours)
        try:
            found = ask(Census.take())
            assert found == _by_processes(ask)
            answers[bool(found)] += 1
        finally:
            if not mounts.is_mountpoint(ours):
                mounts.mount(device, ours, "ext4", ("nosuid", "nodev"))

    compare()
    assert all(answers.values())  # there were some of either kind


@pytest.fixture
def answers() -> dict[bool, int]:
    return {True: 0, False: 0}


@pytest.mark.parametrize("held", ["process", "fd", "bound"])
def test_what_is_mounted_where_no_process_is_is_told(
    held: str, world: tuple[Path, Path, Path], build: Build
) -> None:
    """And no longer once the namespace is gone; a mount that is covered by another is told, too."""
    folder, _, scratch = world
    with opened(folder / "in it") as fd:
        root = mounts.position(fd)[1]
    steps = [["bind", str(folder / "in it"), str(scratch / "one")], ["cover", "/"]]

    def is_told() -> bool:
        return str(root) in roots()

    assert not is_told()
    build([(steps, held)])
    assert is_told()
    build([])
    assert not is_told()


@pytest.mark.parametrize(
    "asking",
    [
        # In a namespace that is older than its own.
        [["pin"], ["unshare", "private"], ["ask"]],
        # In its own, but outside of its root folder; of that it sees one mount alone.
        [["bind", "/", "two"], ["proc", "two/proc"], ["chroot", "two"], ["ask"]],
    ],
)
def test_what_is_mounted_is_told_wherever_one_asks(
    asking: list[list[str]], world: tuple[Path, Path, Path], build: Build
) -> None:
    folder, _, scratch = world
    with opened(folder) as fd:
        root = mounts.position(fd)[1]
    places = {"two": str(scratch / "two"), "two/proc": str(scratch / "two/proc")}
    steps = [[step, *(places.get(word, word) for word in words)] for step, *words in asking]
    bind = ["bind", str(folder), str(scratch / "one")]
    told = ["tell", str(scratch / "told")]
    if "chroot" in (step for step, *_ in asking):
        build([([told, bind, *steps], "process")])
    else:
        earlier = [["pin"], ["unshare", "private"], bind]
        build([(earlier, "process"), ([told, *steps], "process")])
    assert str(root) in json.loads((scratch / "told").read_text())


@pytest.mark.parametrize("many", [1, 2, 4096])
def test_what_we_see_ourselves_is_told(many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As mountinfo has it, in however many parts the kernel lists it."""
    monkeypatch.setattr(namespaces, "_MANY", many)
    monkeypatch.setattr(namespaces, "_known", {})
    own = {(mount.device, mount.root, mount.source) for mount in mounts.table()}
    for _ in range(2):  # the second time by what is known of the first
        shown = [(each.device, each.source) for each in namespaces.shown_anywhere()]
        assert {(device, source) for device, _, source in own} <= set(shown)
        assert {root for _, root, _ in own} <= roots()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM, errno.EAGAIN, errno.EOVERFLOW])
def test_what_the_kernel_refuses_is_not_taken_for_nothing(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older kernel, a filter of system calls, an answer that is too long."""

    def refused(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    for module, name in ((libc, "syscall"), (fcntl, "ioctl")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, refused)
            with pytest.raises(OSError, match=os.strerror(number)):
                namespaces.shown_anywhere()


def test_who_may_not_see_all_namespaces_is_told_nothing() -> None:
    """Kernels before 7.0 leave out those of other owners without a word."""
    none = "from convoy_py.linux import namespaces; namespaces._namespaces = tuple"
    ask = f"{none}; namespaces.shown_anywhere()"
    for inside in (["unshare", "-Urm"], ["setpriv", "--bounding-set", "-sys_admin"]):
        done = subprocess.run(
            [*inside, sys.executable, "-c", ask], capture_output=True, text=True, check=False
        )
        assert "PermissionError" in done.stderr
