"""The blocking steps of raw backups: of which image one is, and volumes that are made of images.

Runs in worker threads; the caller sees to it that what is read stays.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from convoy_py.backends.base import Backend, Place
from convoy_py.backends.imageable import Imageable
from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.steps.parts import power
from convoy_py.engine.steps.snapshots import Copying
from convoy_py.engine.steps.volumes import Steps
from convoy_py.errors import Corrupt, Unsupported
from convoy_py.linux.reflink import Step
from convoy_py.models.backup import Description
from convoy_py.models.options import parse_options
from convoy_py.models.session import Done, Prove, Restore
from convoy_py.models.volume import Options, Spec, show

Run = Callable[[Restore | Prove], Done]
"""Has a session do it with the repository that is meant."""


def image_of(entry: Entry) -> Path | None:
    """The file that is all of a volume's or a snapshot's filesystem; None if it has none."""
    backend, place = entry.usable()
    return backend.image(place) if isinstance(backend, Imageable) else None


def path_of(entry: Entry) -> Path:
    """The same of what has one."""
    path = image_of(entry)
    assert path is not None
    return path


class Imaging:
    """Images that are made to be backed up."""

    def __init__(self, steps: Steps, copying: Copying) -> None:
        self._steps = steps
        self._copying = copying

    def clone(self, volume: Entry, snapshot: Entry, step: Step) -> Entry:
        """Build what has an image of its own of a snapshot that has none; for `abandon`."""
        backend, source = snapshot.usable()
        able = power(backend, snapshot.name)
        spec = volume.volume_record().spec
        # What is to be gone soon need not have its blocks reserved.
        sparse = True if spec.sparse is False else spec.sparse

        def fill(place: Place) -> Spec:
            with self._steps.host.ledger.room(volume.name, able.plan(source, clone=True).takes):
                copies = [(snapshot, place)]
                self._copying.copy_at_once(copies, step, nullcontext(), clone=True)
                return able.finish(source, place, step)

        spec = spec.model_copy(update={"sparse": sparse, "grows_from": None})
        return self._steps.beside(volume.name, backend, spec, fill)

    def abandon(self, beside: Entry) -> None:
        self._steps.abandon(*beside.usable())


def described_as(options: Options, made: Spec) -> dict[str, str]:
    """The options of a volume with those of the image that is backed up, which may be older."""
    own = {key: getattr(made, key) for key in ("fs", "size", "inodes")}
    return options.model_copy(update=own).shown()


def made_as(described: Description) -> Spec:
    """What the image in a raw backup is, as far as it matters to those who make a volume of it."""
    known = described.options
    options = parse_options({key: known[key] for key in ("fs", "size", "inodes") if key in known})
    if options.fs is None or options.size is None:
        raise Corrupt(f"the backup of {described.name} does not say what its image is")
    return Spec.of(options, backend=known.get("backend", ""))


def check_suits(described: Description, backend: Backend, spec: Spec) -> Imageable:
    """The backend, if it can make a volume of `spec` of the image in a backup; or Unsupported."""
    made = made_as(described)
    try:
        if isinstance(backend, Imageable):
            backend.suits(made, spec)
            return backend
        reason = f"backend {backend.name} keeps no images"
    except Unsupported as error:
        reason = str(error)
    raise Unsupported(
        f"the backup is an image (--raw), {made.fs} of {show('size', made.size)}, and {reason}: "
        "restore it as it was, under another name if need be (--as); a backup of files can be "
        "restored into any backend, filesystem and size"
    )


def filled(backend: Backend, place: Place, described: Description, backup: str, run: Run) -> Spec:
    """Make a volume of the image in a backup; its spec as settled."""
    able = check_suits(described, backend, place.spec)
    run(Restore(backup=backup, raw=True, into=_begun(able, place, described)))
    return able.take_image(place)


def proven(
    backend: Backend, place: Place, described: Description, backup: str, run: Run
) -> Sequence[str]:
    """What is not as it should be in a volume that is made of it; Corrupt if that cannot be."""
    able = check_suits(described, backend, place.spec)
    into = _begun(able, place, described)
    if problems := run(Prove(backup=backup, raw=True, into=into)).problems:
        return problems
    able.take_image(place)
    return ()


def _begun(able: Imageable, place: Place, described: Description) -> Path:
    size = made_as(described).size
    assert size is not None
    return able.begin_image(place, size)
