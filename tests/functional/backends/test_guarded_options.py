"""suid and dev: mounted so where that is allowed, by either backend, and else refused."""

import pytest

from convoy_py.backends import BACKENDS
from convoy_py.backends.base import Backend
from convoy_py.errors import Unsupported
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import Options
from convoy_py.settings import Settings
from tests.conformance.bed import MIB, Case
from tests.functional.backends.conftest import MakeBed

pytestmark = pytest.mark.root

IMAGE = Options(fs=Filesystem.EXT4, size=64 * MIB)
CASES = [("directory", "data", Options()), ("loopback", "image", IMAGE)]


def _case(name: str, data: str, options: Options, *allowed: str) -> Case:
    """With mount options allowed, beside all else that the bed sets."""

    def build(settings: Settings) -> Backend:
        return BACKENDS[name](settings.model_copy(update={"allowed_mount_options": allowed}))

    return Case(name, build, data, options)


@pytest.mark.parametrize(("name", "data", "options"), CASES)
def test_what_is_allowed_and_chosen_is_mounted_so(
    make_bed: MakeBed, name: str, data: str, options: Options
) -> None:
    """One of them leaves the other off; a volume that did not choose has both off."""
    bed = make_bed(_case(name, data, options, "suid", "dev"))
    place = bed.created("one", mount_options=("suid",))
    bed.mounted(place)
    assert {"nosuid", "nodev"} & bed.mount_options(place) == {"nodev"}
    other = bed.created("other", mount_options=("dev", "suid"))
    bed.mounted(other)
    assert {"nosuid", "nodev"} & bed.mount_options(other) == set()
    plain = bed.created("plain")
    bed.mounted(plain)
    assert {"nosuid", "nodev"} <= bed.mount_options(plain)


@pytest.mark.parametrize(("name", "data", "options"), CASES)
def test_what_is_not_allowed_is_refused(
    make_bed: MakeBed, name: str, data: str, options: Options
) -> None:
    """Naming the setting; for a new volume, and for data that is adopted."""
    bed = make_bed(_case(name, data, options, "dev"))
    asked = Options(mount_options=("dev", "suid"))
    with pytest.raises(Unsupported, match=r"suid is not allowed .*allowed_mount_options: dev\)"):
        bed.backend.resolve(asked)
    place = bed.created("one")
    with pytest.raises(Unsupported, match="suid is not allowed"):
        bed.backend.adopt(place, asked)


@pytest.mark.parametrize(("name", "data", "options"), CASES)
def test_what_is_allowed_no_longer_is_mounted_without(
    make_bed: MakeBed, name: str, data: str, options: Options
) -> None:
    """The volume is served all the same."""
    bed = make_bed(_case(name, data, options, "suid"))
    place = bed.created("one", mount_options=("suid",))
    bed.backend = _case(name, data, options).build(Settings(root=bed.root))
    bed.mounted(place)
    assert {"nosuid", "nodev"} <= bed.mount_options(place)
